-- Says which queues a flag guards, notes who did and why, tells the listeners.
-- Rows: 0 (there is no such flag) or one: its new version. Locks: the flag's row. Index: flag_pkey, flag_queue_pkey.
-- $1 text key  $2 text[] queues  $3 text actor  $4 text reason or null
with old as (
        select f.key, array(select q.queue from reeve.flag_queue q where q.flag = f.key order by 1) as queues
        from reeve.flag f where f.key = $1::text and f.archived_at is null for update
), gone as (
        delete from reeve.flag_queue q using old o where q.flag = o.key and q.queue <> all ($2::text[])
), new as (
        insert into reeve.flag_queue (flag, queue)
        select distinct o.key, n.queue from old o cross join unnest($2::text[]) n (queue)
        on conflict do nothing
), changed as (
        update reeve.flag f set version = f.version + 1, updated_by = $3::text, updated_at = clock_timestamp()
        from old o where f.key = o.key
        returning f.key, f.version
), noted as (
        insert into reeve.history (object, event, actor, reason, detail)
        select 'flag/' || c.key, 'set-queues', $3::text, $4::text, jsonb_build_object('version', c.version,
                'queues', $2::text[], 'was', o.queues)
        from changed c join old o on o.key = c.key
)
select c.version, pg_notify('reeve_flag', '') is null as told from changed c
