-- What the succeeded children of a job left as files: output files and results too large for the row. Locks: none.
-- Rows: those after the given child, direction and name, <= $5. Index: job_parent, done's partition pkey, blob_ref_pkey.
-- $1 uuid parent  $2 integer child_no (-1 first)  $3 text direction  $4 text name  $5 integer most
select j.child_no, b.direction, b.name, b.digest, b.size
from reeve.job j cross join lateral (select d.state from reeve.done d where d.job = j.id limit 1) d
cross join lateral (
        select b.* from reeve.blob_ref b where b.job = j.id and b.direction in ('output', 'result') offset 0
) b
where j.parent = $1::uuid and j.child_no >= $2::integer and d.state = 'succeeded'
        and (j.child_no, b.direction, b.name) > ($2::integer, $3::text, $4::text)
order by j.child_no, b.direction, b.name limit $5::integer
