-- Publishes what this host's kinds are; the last word wins. Locks: kind rows in the order of names. Rows: the changed.
-- $1 jsonb array of kinds
insert into reeve.kind as k (name, description, queue, priority, max_attempts, max_interruptions, timeout_usec, stop_usec,
        keep_usec, retry_usec, retry_max_usec, lease_usec, concurrency, concurrency_key, rate_n, rate_usec, rate_burst, rate_key,
        deadline_usec, unique_usec, release, hash)
select i.name, i.description, i.queue, i.priority, i.max_attempts, i.max_interruptions, i.timeout_usec, i.stop_usec,
        i.keep_usec, i.retry_usec, i.retry_max_usec, i.lease_usec, i.concurrency, i.concurrency_key, i.rate_n, i.rate_usec, i.rate_burst, i.rate_key,
        i.deadline_usec, i.unique_usec,
        coalesce(i.release, ''), i.hash
from jsonb_to_recordset($1::jsonb) as i (name text, description text, queue text, priority smallint, max_attempts smallint,
        max_interruptions smallint, timeout_usec bigint, stop_usec bigint, keep_usec bigint, retry_usec bigint, retry_max_usec bigint,
        lease_usec bigint, concurrency integer, concurrency_key text[], rate_n integer, rate_usec bigint, rate_burst integer,
        rate_key text[], deadline_usec bigint, unique_usec bigint, release text, hash text)
order by i.name
on conflict (name) do update
set description = excluded.description, queue = excluded.queue, priority = excluded.priority,
        max_attempts = excluded.max_attempts, max_interruptions = excluded.max_interruptions,
        timeout_usec = excluded.timeout_usec, stop_usec = excluded.stop_usec, keep_usec = excluded.keep_usec,
        retry_usec = excluded.retry_usec, retry_max_usec = excluded.retry_max_usec, lease_usec = excluded.lease_usec,
        concurrency = excluded.concurrency, concurrency_key = excluded.concurrency_key, rate_n = excluded.rate_n,
        rate_usec = excluded.rate_usec, rate_burst = excluded.rate_burst, rate_key = excluded.rate_key, deadline_usec = excluded.deadline_usec,
        unique_usec = excluded.unique_usec,
        release = excluded.release, hash = excluded.hash, published_by = session_user, published_at = clock_timestamp()
where (k.hash, k.release) is distinct from (excluded.hash, excluded.release) or k.retry_usec is null
returning name
