-- Has chunks of a document read again. Rows: one: the outcome, the job that does it, their numbers as JSON. Locks: the waiting
-- row, see the function. $1 uuid  $2 integer[] chunks or null (all that failed)  $3 boolean force  $4 text actor
-- $5 uuid of a new job
select r.outcome, r.job, to_json(r.chunks)::text
from reeve_systems.pdf_retry_chunks($1::uuid, $2::integer[], $3::boolean, $4::text, $5::uuid) r
