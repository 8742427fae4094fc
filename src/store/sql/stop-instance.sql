-- Ends an instance: its own clean stop, or systemd saw it end. Locks: its row. Rows: 0 or 1. Index: instance_pkey.
-- $1 bigint id  $2 text cause
update reeve.instance i
set state = 'stopped', stopped_at = clock_timestamp(), stop_cause = $2::text, busy = 0
where i.id = $1::bigint and i.stopped_at is null
returning i.id
