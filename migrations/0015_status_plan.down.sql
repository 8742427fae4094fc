alter function reeve.job_statuses(uuid[]) reset plan_cache_mode;
