-- The living instances of a worker's name on hosts of a name. Locks: none. Rows: one, if nothing is wrong. Index: instance_live.
-- $1 text host  $2 text name
select i.id, false as made, i.beat, (extract(epoch from clock_timestamp() - i.beat_at) * 1000000)::bigint as age_usec,
        i.pid, i.process, i.machine
from reeve.instance i
where i.host = $1::text and i.name = $2::text and i.stopped_at is null
order by i.id
