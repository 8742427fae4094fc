-- What changed since somebody was told (core/event-cursor.h), the jobs as they are now. Jobs and ends are found by their
-- transaction, so that none is missed; of runs, progress and moves only what is still so. A job is there once, where it
-- changed last. At most $9 changes are looked at; if there are so many, there may be more.
-- Locks: none. Rows: one at least: the snapshot, the latest run id, and a change, or nulls if there was none.
-- Index: job_xid, done_xid, history_xid; lease_pkey from $5; progress and waiting are read whole: they are as long as the
-- list of jobs that run or wait for children.
-- $1 xid8 next  $2 uuid job told of it  $3 xid8[] open  $4 uuid[] jobs told of them  $5 bigint run id
-- $6 boolean everybody's jobs, or only those of  $7 uuid[] jobs  $8 uuid[] those of them that do not run  $9 integer most
with now as materialized (
        select s, pg_snapshot_xmax(s) as xmax, pg_snapshot_xmax(s)::text::bigint as top
        from pg_current_snapshot() s
), late as materialized (
        select o.xid, o.job from unnest($3::xid8[], $4::uuid[]) as o (xid, job), now n
        where pg_visible_in_snapshot(o.xid, n.s)
), moved as materialized (
        -- Rows that say nothing of their transaction but by xmin, 32 bits of it.
        select (n.top - ((n.top - m.xmin::text::bigint) & 4294967295))::text::xid8 as xid, m.job, m.soft
        from (
                select p.xmin, p.job, true as soft from reeve.progress p where $6::boolean or p.job = any ($7::uuid[])
                union all
                select w.xmin, w.job, true from reeve.waiting w where $6::boolean or w.job = any ($7::uuid[])
                union all
                select r.xmin, r.job, false from unnest($8::uuid[]) as i (job) cross join lateral (
                        select r.xmin, r.job from reeve.ready r where r.job = i.job limit 1
                ) r
        ) m, now n
), found (late, xid, job, ended, soft) as (
        (select false, j.xid, j.id, false, false from reeve.job j
        where (j.xid, j.id) > ($1::xid8, $2::uuid) and j.xid < (select n.xmax from now n)
                and ($6::boolean or j.id = any ($7::uuid[]))
        order by j.xid, j.id limit $9::integer)
        union all
        (select false, d.xid, d.job, true, false from reeve.done d
        where (d.xid, d.job) > ($1::xid8, $2::uuid) and d.xid < (select n.xmax from now n)
                and ($6::boolean or d.job = any ($7::uuid[]))
        order by d.xid, d.job limit $9::integer)
        union all
        (select false, h.xid, h.job, false, false from reeve.history h
        where (h.xid, h.job) > ($1::xid8, $2::uuid) and h.xid < (select n.xmax from now n) and h.job is not null
                and ($6::boolean or h.job = any ($7::uuid[]))
        order by h.xid, h.job limit $9::integer)
        union all
        select true, j.xid, j.id, false, false from late o cross join lateral (
                select j.xid, j.id from reeve.job j
                where j.xid = o.xid and j.id > o.job and ($6::boolean or j.id = any ($7::uuid[]))
                order by j.id limit $9::integer
        ) j
        union all
        select true, d.xid, d.job, true, false from late o cross join lateral (
                select d.xid, d.job from reeve.done d
                where d.xid = o.xid and d.job > o.job and ($6::boolean or d.job = any ($7::uuid[]))
                order by d.job limit $9::integer
        ) d
        union all
        select true, h.xid, h.job, false, false from late o cross join lateral (
                select h.xid, h.job from reeve.history h
                where h.xid = o.xid and h.job > o.job and ($6::boolean or h.job = any ($7::uuid[]))
                order by h.job limit $9::integer
        ) h
        union all
        select l.xid < $1::xid8, l.xid, l.job, false, false from reeve.lease l
        where l.run_id > $5::bigint and l.xid < (select n.xmax from now n)
                and ($6::boolean or l.job = any ($7::uuid[]))
                and ((l.xid, l.job) > ($1::xid8, $2::uuid)
                        or exists (select from late o where o.xid = l.xid and l.job > o.job))
        union all
        select m.xid < $1::xid8, m.xid, m.job, false, m.soft from moved m
        where (m.xid, m.job) > ($1::xid8, $2::uuid)
                or exists (select from late o where o.xid = m.xid and m.job > o.job)
), page as materialized (
        select f.late, f.xid, f.job, bool_or(f.ended) as ended, bool_and(f.soft) as soft,
                row_number() over (order by f.late desc, f.xid, f.job) as ord
        from found f group by f.late, f.xid, f.job
        order by f.late desc, f.xid, f.job limit $9::integer
), told as materialized (
        select p.ord, p.xid, p.job, bool_or(p.ended) over w as ended, bool_and(p.soft) over w as soft,
                p.ord = first_value(p.ord) over (partition by p.job order by p.ended desc, p.ord desc) as last
        from page p
        window w as (partition by p.job)
)
select n.s::text, coalesce((select max(l.run_id) from reeve.lease l), 0), t.xid::text, t.job::text, t.ended, t.soft,
        s.body ->> 'tenant', s.body ->> 'subject', s.body ->> 'kind', s.body ->> 'queue', s.body ->> 'state',
        (s.body - 'result')::text, case when t.job = any ($7::uuid[]) then (s.body -> 'result')::text end
from now n left join told t on true
left join reeve.job_statuses(array(select t.job from told t where t.last)) s on s.job = t.job and t.last
order by t.ord
