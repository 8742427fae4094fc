-- The published kinds as a JSON array; whether a living worker has each. Locks: none. Rows: one. Index: none, both
-- tables are small.
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', k.name, 'description', k.description,
        'queue', k.queue, 'priority', k.priority, 'max_attempts', k.max_attempts,
        'max_interruptions', k.max_interruptions, 'timeout_usec', k.timeout_usec, 'stop_usec', k.stop_usec,
        'keep_usec', k.keep_usec, 'lease_usec', k.lease_usec, 'concurrency', k.concurrency,
        'concurrency_key', array_to_string(k.concurrency_key, ' '), 'rate_n', k.rate_n, 'rate_usec', k.rate_usec, 'rate_burst', k.rate_burst,
        'rate_key', array_to_string(k.rate_key, ' '), 'deadline_usec', k.deadline_usec, 'unique_usec', k.unique_usec, 'release', nullif(k.release, ''), 'hash', k.hash, 'published_at', k.published_at,
        'workers', (select count(*) from reeve.instance i where i.stopped_at is null and k.name = any (i.kinds))))
        order by k.name), '[]')::text
from reeve.kind k
