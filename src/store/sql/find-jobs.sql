-- Which of these jobs exist: the question after a statement whose outcome is unknown. Locks: none. Rows: <= the ids.
-- Index: job's partition pkey, one probe for each id. $1 uuid[] ids
select f.id from unnest($1::uuid[]) i (id) cross join lateral (select j.id from reeve.job j where j.id = i.id limit 1) f
