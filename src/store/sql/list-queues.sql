-- Queues as a JSON array with what waits and runs in each. At most 1000 ready jobs of a lane and 200 lanes are counted,
-- so that the cost does not grow with the backlog: "ready" of a queue is then a lower bound, and "more" is true. Of blocked jobs 1000
-- are counted for all queues together, or else "more_blocked" is true.
-- Locks: none. Rows: one. Index: ready_pkey (one probe for each lane, and <= 1000 entries of it), lease.
with recursive lane as (
        (select r.lane, r.job, 1 as n from reeve.ready r order by r.lane, r.seq limit 1)
        union all
        select f.lane, f.job, l.n + 1 from lane l cross join lateral (
                select r.lane, r.job from reeve.ready r where r.lane > l.lane order by r.lane, r.seq limit 1) f
        where l.n < 200
), ready as (
        select j.queue, sum(c.n)::bigint as n, bool_or(c.n >= 1000) as more, min(j.created_at) as oldest
        from lane l
        cross join lateral (select x.queue, x.created_at from reeve.job x where x.id = l.job limit 1) j
        cross join lateral (select count(*) as n from (
                select from reeve.ready r where r.lane = l.lane order by r.seq limit 1000) few) c
        group by j.queue
), running as (
        select j.queue, count(*) as n from reeve.lease l
        cross join lateral (select x.queue from reeve.job x where x.id = l.job limit 1) j
        group by j.queue
), blocked as (
        select j.queue, count(*) as n from (select b.job from reeve.blocked b limit 1000) b
        cross join lateral (select x.queue from reeve.job x where x.id = b.job limit 1) j
        group by j.queue
), name as (
        select k.queue as name from reeve.kind k union select q.name from reeve.queue q
        union select r.queue from ready r union select r.queue from running r union select b.queue from blocked b
)
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', n.name, 'paused', coalesce(q.paused, false),
        'reason', q.reason, 'ready', coalesce(r.n, 0), 'more', coalesce(r.more, false), 'running', coalesce(u.n, 0),
        'blocked', coalesce(b.n, 0), 'more_blocked', (select sum(x.n) >= 1000 from blocked x),
        'oldest_at', r.oldest)) order by n.name), '[]')::text
from name n left join reeve.queue q on q.name = n.name left join ready r on r.queue = n.name
left join running u on u.queue = n.name left join blocked b on b.queue = n.name
