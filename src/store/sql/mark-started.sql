-- Notes that runs have begun, so that an interruption counts against them. Only for runs that last: see worker.
-- Locks: the lease rows. Rows: none. Index: lease_pkey (HOT updates). $1 bigint[] run ids  $2 bigint instance
update reeve.lease l set started = true
where l.run_id = any ($1::bigint[]) and l.instance = $2::bigint and not l.started
