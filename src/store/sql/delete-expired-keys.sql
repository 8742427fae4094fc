-- Deletes idempotency keys whose time is over. Rows: none, the count is what matters. Locks: those rows. Index: key_expires.
-- $1 integer most
with gone as (
        delete from reeve.key k
        where k.ctid = any (array(
                select e.ctid from reeve.key e where e.expires_at <= clock_timestamp() order by e.expires_at
                limit $1::integer for update skip locked))
        returning 1
)
select count(*) as n from gone
