-- A job as its owner sees it. Locks: none. Rows: 0 or 1. Index: one probe for each table. $1 uuid
select s.job ->> 'tenant', s.job ->> 'subject', s.job ->> 'state', s.job::text
from (select reeve.job_status($1::uuid) offset 0) s (job)
where s.job is not null
