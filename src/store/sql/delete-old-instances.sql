-- Forgets worker instances that ended long ago and whose runs were all seen to. Rows: one, how many. Locks: those rows.
-- $1 text how long ago (interval)
with gone as (
        delete from reeve.instance i
        where i.reaped and i.stopped_at < clock_timestamp() - $1::interval
                and not exists (select from reeve.lease l where l.instance = i.id)
        returning 1
)
select count(*) as n from gone
