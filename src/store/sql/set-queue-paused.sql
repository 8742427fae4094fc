-- Pauses or resumes a queue, notes who did and why, tells the workers. Rows: 0 (nothing knows the queue: no kind, no
-- worker, no job) or one: 1. Locks: the queue's row. Index: queue_pkey, job_queue; kinds and instances are few.
-- $1 text queue  $2 boolean paused  $3 text actor  $4 text reason or null
with changed as (
        insert into reeve.queue as q (name, paused, reason, changed_by)
        select $1::text, $2::boolean, $4::text, $3::text
        where exists (select from reeve.queue x where x.name = $1::text)
                or exists (select from reeve.kind k where k.queue = $1::text)
                or exists (select from reeve.instance i where i.stopped_at is null and $1::text = any (i.queues))
                or exists (select from reeve.job j where j.queue = $1::text limit 1)
        on conflict (name) do update
        set paused = excluded.paused, reason = excluded.reason, changed_by = excluded.changed_by,
                changed_at = clock_timestamp()
        returning q.name
), noted as (
        insert into reeve.history (object, event, actor, reason)
        select 'queue/' || c.name, case when $2::boolean then 'pause' else 'resume' end, $3::text, $4::text from changed c
)
select 1::bigint as n, pg_notify('reeve', '') is null as told from changed c
