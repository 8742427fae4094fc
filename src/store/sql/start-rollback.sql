-- Turns a flag off, notes who did and why, tells the listeners, and begins to watch what it had let in.
-- Rows: one: the operation's id, 0 (there is no such flag) or -1 (it guards no queue). Locks: the flag's row, that of its
-- operation. Index: flag_pkey, operation_running.
-- $1 text flag  $2 text[] queues or null (those that it guards)  $3 text actor  $4 text reason or null  $5 bigint usec
select reeve.start_rollback($1::text, $2::text[], $3::text, $4::text, $5::bigint) as id
