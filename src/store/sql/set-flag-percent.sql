-- Sets a flag's percentage, notes who did and why, tells the listeners.
-- Rows: 0 (there is no such flag) or one: its new version. Locks: the flag's row. Index: flag_pkey.
-- $1 text key  $2 integer thousandths of a percent  $3 text actor  $4 text reason or null
with old as (
        select f.* from reeve.flag f where f.key = $1::text and f.archived_at is null for update
), changed as (
        update reeve.flag f
        set percent = $2::integer, version = f.version + 1, updated_by = $3::text, updated_at = clock_timestamp()
        from old o where f.key = o.key
        returning f.key, f.version
), noted as (
        insert into reeve.history (object, event, actor, reason, detail)
        select 'flag/' || c.key, 'set-percent', $3::text, $4::text, jsonb_build_object('version', c.version,
                'percent', trim_scale($2::integer / 1000.0), 'was', trim_scale(o.percent / 1000.0))
        from changed c join old o on o.key = c.key
)
select c.version, pg_notify('reeve_flag', '') is null as told from changed c
