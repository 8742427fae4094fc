-- What decides on the end of a run that is pulled; no row if it is not its puller's any more. Locks: none. Rows: 0 or 1.
-- Index: lease_pkey; one probe each for job and kind. $1 bigint run_id  $2 uuid run_key
select j.tenant, l.job::text, l.puller, l.attempt::text, j.max_attempts::text, coalesce(k.retry_usec, 2000000)::text,
        coalesce(k.retry_max_usec, 60000000)::text
from (
        select * from reeve.lease l where l.run_id between $1::bigint and $1::bigint and l.run_key = $2::uuid limit 1
) l cross join lateral (select * from reeve.job j where j.id = l.job limit 1) j
left join lateral (select * from reeve.kind k where k.name = j.kind limit 1) k on true
where l.expires_at is not null
