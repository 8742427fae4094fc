-- Finds lanes that the caller does not know yet: for each gap between known lanes the first ready row in it. The caller
-- asks again until nothing new comes. A probe of a gap lands behind the known lane's entries, so that neither a long
-- lane nor dead entries of a drained one cost anything. (Both ends of a gap must be conditions of the index: with "or the
-- upper is null" the probe read on through all that lies behind.)
-- Locks: none. Rows: <= number of gaps. Index: ready_pkey, one probe for each gap.
-- $1 bigint[] known lanes, ascending
with edge as (
        select lower, lead(lower, 1, 9223372036854775807) over (order by ord) as upper
        from unnest(array_prepend((-9223372036854775808)::bigint, $1::bigint[])) with ordinality as t (lower, ord)
)
select r.lane, j.queue, j.kind, j.tenant, j.priority
from edge e cross join lateral (
        select r.lane, r.job from reeve.ready r
        where r.lane > e.lower and r.lane < e.upper
        order by r.lane, r.seq limit 1
) r cross join lateral (select * from reeve.job j where j.id = r.job limit 1) j
