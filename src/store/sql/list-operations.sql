-- Operations as a JSON array: those that run, and those that have ended in the last ten minutes. Locks: none. Rows: one.
-- Index: operation_running, operation_finished.
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', o.id, 'type', o.type, 'subject', o.subject,
        'queues', o.queues, 'phase', o.phase, 'result', o.result, 'error_code', o.error_code,
        'error_message', o.error_message, 'actor', o.actor, 'reason', o.reason, 'jobs', o.jobs,
        'remaining', o.remaining, 'started_usec', (extract(epoch from o.started_at) * 1000000)::bigint,
        'deadline_usec', (extract(epoch from o.deadline) * 1000000)::bigint,
        'finished_usec', (extract(epoch from o.finished_at) * 1000000)::bigint)) order by o.id), '[]')::text
from (
        select * from reeve.operation r where r.finished_at is null
        union all
        select * from reeve.operation e where e.finished_at > clock_timestamp() - interval '10 minutes'
) o
