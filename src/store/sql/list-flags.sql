-- The flags that are in use, or the one of a key, archived or not. Locks: none. Rows: at most REEVE_FLAGS_MAX.
-- Index: flag_pkey, or none, the table is small.
-- $1 text key or null (all that are in use)
select f.key, f.description, f.enabled, f.percent, f.bucketing, f.seed, to_jsonb(f.allow)::text as allow,
        f.rules::text as rules, f.value_on::text as value_on, f.value_off::text as value_off, f.on_stale, f.version,
        f.updated_by, (extract(epoch from f.updated_at) * 1000000)::bigint as updated_usec,
        (extract(epoch from f.archived_at) * 1000000)::bigint as archived_usec,
        to_jsonb(array(select q.queue from reeve.flag_queue q where q.flag = f.key order by 1))::text as queues
from reeve.flag f
where case when $1::text is null then f.archived_at is null else f.key = $1::text end
order by f.key collate "C"
