-- Lets jobs go on that waited for the time of a rate: see the function. Locks: the buckets whose time has come, skipping those that
-- somebody holds; the blocked rows moved, skipping others'. Rows: one: how many, and microseconds to the next (null: none).
-- Index: bucket_wake. $1 integer how many buckets
select w.n, w.next_usec from reeve.wake_buckets($1::integer) w
