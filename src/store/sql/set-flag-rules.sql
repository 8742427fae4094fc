-- Sets a flag's rules, notes who did and why, tells the listeners.
-- Rows: 0 (there is no such flag) or one: its new version. Locks: the flag's row. Index: flag_pkey.
-- $1 text key  $2 jsonb rules  $3 text actor  $4 text reason or null
with old as (
        select f.* from reeve.flag f where f.key = $1::text and f.archived_at is null for update
), changed as (
        update reeve.flag f
        set rules = $2::jsonb, version = f.version + 1, updated_by = $3::text, updated_at = clock_timestamp()
        from old o where f.key = o.key
        returning f.key, f.version
), noted as (
        insert into reeve.history (object, event, actor, reason, detail)
        select 'flag/' || c.key, 'set-rules', $3::text, $4::text, jsonb_build_object('version', c.version,
                'rules', $2::jsonb, 'was', o.rules)
        from changed c join old o on o.key = c.key
)
select c.version, pg_notify('reeve_flag', '') is null as told from changed c
