-- Revokes a key and notes who did. Locks: its row. Rows: 0 or 1: its name. Index: api_key_pkey.
-- $1 bigint id  $2 text actor
with gone as (
        update reeve.api_key k set revoked_at = clock_timestamp(), revoked_by = $2::text
        where k.id = $1::bigint and k.revoked_at is null
        returning k.id, k.name
), noted as (
        insert into reeve.history (object, event, actor, detail)
        select 'key/' || g.name, 'revoke', $2::text, jsonb_build_object('id', g.id) from gone g
)
select g.name from gone g
