-- What start-rollback would do, as a JSON object. Locks: none. Rows: 0 (there is no such flag) or one. Index: flag_pkey.
-- $1 text flag  $2 text[] queues or null (those that it guards)
select jsonb_build_object('enabled', f.enabled, 'percent', trim_scale(f.percent / 1000.0), 'queues', to_jsonb(w.queues),
        'jobs', reeve.count_live(w.queues, '-infinity', clock_timestamp(), 100000),
        'running', (select o.id from reeve.operation o where o.subject = f.key and o.finished_at is null))::text as plan
from reeve.flag f
cross join lateral (select coalesce($2::text[],
        array(select q.queue from reeve.flag_queue q where q.flag = f.key order by 1)) as queues) w
where f.key = $1::text and f.archived_at is null
