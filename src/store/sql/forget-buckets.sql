-- Deletes buckets of rates that are as if they had never been used. Rows: one: how many. Locks: those rows, skipping others'.
-- Index: none, hourly. $1 integer most
with gone as (
        delete from reeve.bucket b
        where b.ctid = any (array(
                select o.ctid from reeve.bucket o where o.tat < clock_timestamp() - interval '1 hour' and o.wake_at is null
                limit $1::integer for update skip locked))
        returning 1
)
select count(*) as n from gone
