-- Which of these jobs exist, and in which state: the question after a statement whose outcome is unknown. Locks: none. Rows: <= the ids.
-- Index: job's partition pkey and those of the states' tables, one probe for each id. $1 uuid[] ids
select f.id, reeve.job_state(f.id) from unnest($1::uuid[]) i (id) cross join lateral (select j.id from reeve.job j where j.id = i.id limit 1) f
