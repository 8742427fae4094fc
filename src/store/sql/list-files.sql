-- A job's files as a JSON array. Locks: none. Rows: one. Index: blob_ref_pkey. $1 uuid  $2 integer most
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', f.name, 'direction', f.direction, 'size', f.size,
        'digest', f.digest, 'content_type', f.content_type)) order by f.direction desc, f.name), '[]')::text
from (
        select * from reeve.blob_ref r where r.job = $1::uuid and r.direction in ('input', 'output')
        order by r.direction desc, r.name limit $2::integer
) f
