-- Deletes what belongs to jobs of the oldest week that nobody needs. Rows: one, how many rows went. Index: blob_ref_pkey,
-- history_job, done_pkey. $1 text KeepJobs= (interval): it is no shorter than the longest KeepResult=  $2 integer most
select reeve.forget_week(clock_timestamp() - greatest($1::interval,
        (select make_interval(secs => max(k.keep_usec) / 1000000.0) from reeve.kind k)), $2::integer) as n
