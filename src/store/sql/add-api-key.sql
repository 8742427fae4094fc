-- Makes a key and notes who did. Rows: one: its id. SQLSTATE 23505: a living key has this name. Index: api_key_name.
-- $1 text name  $2 text hash  $3 text role  $4 text tenant or null (all)  $5 text subject or null  $6 boolean acts for
-- any subject  $7 timestamptz expires or null  $8 text actor
with made as (
        insert into reeve.api_key (name, hash, role, tenant, subject, act_for_subjects, expires_at, created_by)
        values ($1::text, $2::text, $3::text, $4::text, $5::text, $6::boolean, $7::timestamptz, $8::text)
        returning id, name, role, tenant
), noted as (
        insert into reeve.history (object, event, actor, detail)
        select 'key/' || m.name, 'create', $8::text, jsonb_build_object('id', m.id, 'role', m.role, 'tenant', m.tenant) from made m
)
select m.id::text as id from made m
