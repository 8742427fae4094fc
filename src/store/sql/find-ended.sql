-- Which of these jobs have ended: one poll for all who wait. Locks: none. Rows: <= the ids.
-- Index: done's partition pkey, one probe for each id. $1 uuid[] ids
select f.job from unnest($1::uuid[]) i (id) cross join lateral (select d.job from reeve.done d where d.job = i.id limit 1) f
