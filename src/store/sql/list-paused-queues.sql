-- Queues that nobody may claim from. Locks: none. Rows: few. Index: none, the table is small.
select q.name from reeve.queue q where q.paused
