-- Forgets results and files of jobs that ended longer ago than KeepResult= of their kind. Rows: one: how many were looked
-- at, how many expired. Locks: done and blob_ref rows. Index: job_kind from where it stopped last time, done_pkey.
-- $1 integer most
select e.n_seen, e.n_expired from reeve.expire_results($1::integer) e
