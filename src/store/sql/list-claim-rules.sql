-- What one who claims has to know: queues that are paused, and kinds that have limits. Locks: none. Rows: one for each. Index: none, the
-- tables are small.
select q.name, true as paused from reeve.queue q where q.paused
union all
select k.name, false from reeve.kind k where k.concurrency is not null or k.rate_n is not null
