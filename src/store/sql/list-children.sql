-- The ended children of a job in the order they were asked for, as the join phase gets them.
-- Locks: none. Rows: the children after the given number, <= $3. Index: job_parent, done's partition pkey.
-- $1 uuid parent  $2 integer after child_no (-1 first)  $3 integer most
select j.child_no, j.id, j.kind, d.state, d.cause, d.result::text, d.result_blob, d.error_code, d.error_message
from reeve.job j cross join lateral (select * from reeve.done d where d.job = j.id limit 1) d
where j.parent = $1::uuid and j.child_no > $2::integer
order by j.child_no limit $3::integer
