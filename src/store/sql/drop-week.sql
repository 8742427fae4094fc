-- Drops the oldest week of jobs; those that still live are kept. Rows: one if a week was dropped, its first day.
-- Locks: ACCESS EXCLUSIVE on job and done, waited for two seconds at most.
-- $1 text KeepJobs= (interval): it is no shorter than the longest KeepResult=
select d.week
from (select reeve.drop_week(clock_timestamp() - greatest($1::interval,
        (select make_interval(secs => max(k.keep_usec) / 1000000.0) from reeve.kind k))) offset 0) d (week)
where d.week is not null
