-- Moves scheduled jobs whose time has come to ready. The lower bound keeps it from walking entries that others have
-- promoted under an open snapshot; callers start again from the beginning now and then, for a long transaction may
-- commit an old time. It is told in seconds back: the clock of a worker may be wrong. Locks: the rows moved, skipping
-- others'. Rows: one: how many, and microseconds to the next (null: none). Index: scheduled_run_at.
-- $1 integer most  $2 bigint lower bound: so many seconds ago; < 0: none
with clock as materialized (
        select c.now, case when $2::bigint < 0 then '-infinity' else c.now - $2::bigint * interval '1 second' end as lower
        from (select clock_timestamp() as now offset 0) c -- a condition of the index, which a volatile function cannot be
), due as materialized (
        select s.ctid as place from reeve.scheduled s
        where s.run_at <= (select now from clock) and s.run_at >= (select lower from clock)
        order by s.run_at limit $1::integer for update skip locked
), gone as (
        delete from reeve.scheduled s using due d where s.ctid = d.place
        returning s.job, s.run_at, s.lane, s.attempt, s.interruptions, s.flags
), moved as (
        insert into reeve.ready (job, lane, attempt, interruptions, flags)
        select g.job, g.lane, g.attempt, g.interruptions, g.flags from gone g order by g.run_at
        returning job
)
select (select count(*) from moved) as n,
        (select ceil(extract(epoch from s.run_at - (select now from clock)) * 1000000)::bigint
        from reeve.scheduled s where s.run_at > (select now from clock) order by s.run_at limit 1) as next_usec
