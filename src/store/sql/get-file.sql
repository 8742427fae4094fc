-- Where a file of a job is: an output of that name, or else an input, or a payload that is too large to be told; an empty digest if its files have expired. Locks:
-- none. Rows: 0 or 1. Index: blob_ref_pkey, done_pkey.
-- $1 uuid  $2 text name
select coalesce(f.tenant, ''), coalesce(f.digest, ''), coalesce(f.content_type, '') as content_type
from (select $1::uuid as job) q
left join lateral (
        select r.tenant, r.digest, r.content_type from reeve.blob_ref r
        where r.job = q.job and (r.direction in ('input', 'output') and r.name = $2::text
                or r.direction = 'payload' and $2::text = 'payload.json')
        order by array_position(array['output', 'input', 'payload'], r.direction) limit 1
) f on true
left join reeve.done d on d.job = q.job and d.expired_at is not null
where f.digest is not null or d.job is not null
