-- Finds lanes that the caller does not know yet: in each gap between known lanes the first ready row, and from there on the next
-- lanes of the gap. If there are as many as asked for there may be more. A probe lands behind the entries of the lane before, so that
-- neither a long lane nor dead entries of a drained one that is known cost anything. (Both ends of a gap must be conditions of
-- the index: with "or the upper is null" the probe read on through all that lies behind.)
-- Locks: none. Rows: <= $2. Index: ready_pkey, one probe for each gap and for each lane found.
-- $1 bigint[] known lanes, ascending  $2 integer most
with recursive edge as (
        select lower, lead(lower, 1, 9223372036854775807) over (order by ord) as upper
        from unnest(array_prepend((-9223372036854775808)::bigint, $1::bigint[])) with ordinality as t (lower, ord)
), found as (
        select r.lane, r.job, e.upper
        from edge e cross join lateral (
                select r.lane, r.job from reeve.ready r
                where r.lane > e.lower and r.lane < e.upper
                order by r.lane, r.seq limit 1
        ) r
        union all
        select r.lane, r.job, f.upper
        from found f cross join lateral (
                select r.lane, r.job from reeve.ready r
                where r.lane > f.lane and r.lane < f.upper
                order by r.lane, r.seq limit 1
        ) r
)
select f.lane, j.queue, j.kind, j.tenant, j.priority
from found f cross join lateral (select * from reeve.job j where j.id = f.job limit 1) j
limit $2::integer
