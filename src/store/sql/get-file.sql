-- Where a file of a job is: an output of that name, or else an input. Locks: none. Rows: 0 or 1. Index: blob_ref_pkey.
-- $1 uuid  $2 text name
select r.tenant, r.digest, coalesce(r.content_type, '') as content_type
from reeve.blob_ref r
where r.job = $1::uuid and r.direction in ('input', 'output') and r.name = $2::text
order by r.direction desc limit 1
