-- Makes a new job of one that has ended, if the caller may see it. Rows: one: created, exists, live, not-found or
-- refused, the job, and why it was refused. $1 uuid  $2 text tenant or null (any)  $3 text subject or null (any)
-- $4 text actor  $5 text reason or null  $6 uuid of the new job
select r.outcome, r.job, r.detail
from reeve.retry_job($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::uuid) r
