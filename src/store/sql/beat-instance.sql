-- A heartbeat. No row: the instance was stopped by somebody else, and its runs are no longer its own.
-- Locks: its row. Rows: 0 or 1. Index: instance_pkey (a HOT update).
-- $1 bigint id  $2 text state  $3 integer busy slots  $4 bigint jobs done
update reeve.instance i
set beat = i.beat + 1, beat_at = clock_timestamp(), state = $2::text, busy = $3::integer, jobs_done = $4::bigint
where i.id = $1::bigint and i.stopped_at is null
returning i.beat
