-- Fails idle jobs whose deadline passed. Rows: one, how many. Index: job_deadline.
-- $1 text how far back to look (interval)  $2 integer most
select reeve.expire_deadlines($1::interval, $2::integer) as n
