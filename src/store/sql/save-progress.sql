-- Keeps the latest progress of runs; a stale run changes nothing. Locks: progress rows in the order of ids. Rows: none.
-- Index: lease_pkey, progress_pkey.
-- $1 bigint[] run_id  $2 uuid[] run_key  $3 smallint[] percent (null: as it was)  $4 text[] status (null: as it was)
insert into reeve.progress as p (job, run_id, percent, status)
select l.job, l.run_id, i.percent, i.status
from unnest($1::bigint[], $2::uuid[], $3::smallint[], $4::text[]) as i (run_id, run_key, percent, status)
cross join lateral (
        select l.job, l.run_id from reeve.lease l where l.run_id = i.run_id and l.run_key = i.run_key limit 1
) l
order by l.job
on conflict (job) do update
set run_id = excluded.run_id, at = excluded.at,
        percent = case when p.run_id = excluded.run_id then coalesce(excluded.percent, p.percent) else excluded.percent end,
        status = case when p.run_id = excluded.run_id then coalesce(excluded.status, p.status) else excluded.status end
