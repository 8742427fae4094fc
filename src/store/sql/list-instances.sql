-- Heartbeat counters of the living, for the reaper: whose counter stands still for a lease on the reaper's own clock is
-- gone. Locks: none. Rows: the living instances. Index: instance_live.
select i.id, i.beat from reeve.instance i where i.stopped_at is null
