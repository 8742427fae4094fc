-- Stopped instances that were held for reaped and have a lease all the same: a claim of theirs was committed long after
-- (its backend had stood still). Their runs are then found by list-orphans again. Rare, and so are calls.
-- Locks: the rows changed. Rows: those instances, usually none. Index: none, leases are few.
update reeve.instance i set reaped = false
where i.reaped and i.stopped_at is not null and i.id = any (array(select distinct l.instance from reeve.lease l))
returning i.id
