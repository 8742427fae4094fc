-- Takes jobs of many requests in one statement and so in one commit. Rows: one for each job. Locks and indexes: see
-- the function. $1 jsonb array of jobs, as the function takes them
select e.n, e.job, e.outcome, e.state, e.detail from reeve.enqueue_batch($1::jsonb) e
