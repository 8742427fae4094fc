-- Declares an instance lost, if its counter is still the one that stood still. Locks: its row. Rows: 0 or 1.
-- Index: instance_pkey. $1 bigint id  $2 bigint beat
update reeve.instance i
set state = 'stopped', stopped_at = clock_timestamp(), stop_cause = 'host-lost', busy = 0
where i.id = $1::bigint and i.beat = $2::bigint and i.stopped_at is null
returning i.id, i.host, i.name
