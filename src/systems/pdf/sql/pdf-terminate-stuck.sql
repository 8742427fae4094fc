-- Ends documents that have been processed for too long. Rows: one: their ids as JSON. Locks: see the function.
-- $1 bigint microseconds  $2 text actor
select to_json(reeve_systems.pdf_terminate_stuck(make_interval(secs => $1::bigint / 1000000.0), $2::text))::text
