-- Looks at each operation that runs: how many go on. Locks: their rows, and passes over those that somebody else looks at.
-- Rows: one. Index: operation_running.
select count(*) filter (where reeve.advance_operation(o.id))::bigint as n from reeve.operation o where o.finished_at is null
