-- A job as its owner sees it, with what is asked for less often: its payload, and how many of its children are in which state. Locks:
-- none. Rows: 0 or 1. Index: one probe for each table; job_parent, and one probe for each table and child. $1 uuid
select s.job ->> 'tenant', s.job ->> 'subject', s.job ->> 'state', (s.job
        || case when j.payload_blob is null then jsonb_build_object('payload', j.payload)
                else jsonb_build_object('payload_file', 'payload.json') end
        || case when c.states is null then '{}' else jsonb_build_object('child_states', c.states) end)::text
from (select reeve.job_status($1::uuid) offset 0) s (job)
cross join lateral (select * from reeve.job x where x.id = $1::uuid limit 1) j
cross join lateral (
        select jsonb_object_agg(n.state, n.n) as states
        from (
                select reeve.job_state(x.id) as state, count(*) as n from reeve.job x where x.parent = $1::uuid group by 1
        ) n
        where n.state is not null
) c
where s.job is not null
