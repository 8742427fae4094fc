-- Partitions for the weeks to come. Rows: one, how many were made. Locks: an advisory lock; ACCESS EXCLUSIVE on the
-- parents only when one is made.
select reeve.ensure_partitions() as n
