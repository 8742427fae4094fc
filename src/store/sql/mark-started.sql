-- Notes that runs have begun, so that an interruption counts against them. Only for runs that last: see worker.
-- Locks: the lease rows, skipping those that somebody holds who wants to cancel them.
-- Rows: none. Index: lease_pkey (HOT updates). $1 bigint[] run ids  $2 bigint instance
with free as materialized (
        select l.ctid as place from reeve.lease l
        where l.run_id = any ($1::bigint[]) and l.instance = $2::bigint and not l.started
        for no key update skip locked
)
update reeve.lease l set started = true from free f where l.ctid = f.place
