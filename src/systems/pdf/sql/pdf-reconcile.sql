-- Ends runs of chunks that take too long. Rows: one: how many, and how many are read again. Locks: see the function.
-- $1 bigint microseconds  $2 text actor
select r.n_stuck::text, r.n_retried::text
from reeve_systems.pdf_reconcile(make_interval(secs => $1::bigint / 1000000.0), $2::text) r
