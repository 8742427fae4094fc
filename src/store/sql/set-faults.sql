-- What a worker instance cannot run, and why. Locks: its row. Rows: none. Index: instance_pkey (a HOT update).
-- $1 bigint id  $2 text JSON array
update reeve.instance i set faults = $2::jsonb where i.id = $1::bigint and i.stopped_at is null
