-- How many jobs are in each live state, counted to 10000 at most, so that the cost does not grow with the backlog.
-- Locks: none. Rows: one. Index: the tables' primary keys, <= 10000 entries of each.
select (select count(*) from (select from reeve.ready limit 10000) t)::bigint as n_ready,
        (select count(*) from (select from reeve.scheduled limit 10000) t)::bigint as n_scheduled,
        (select count(*) from (select from reeve.blocked limit 10000) t)::bigint as n_blocked,
        (select count(*) from (select from reeve.waiting limit 10000) t)::bigint as n_waiting,
        (select count(*) from (select from reeve.lease limit 10000) t)::bigint as n_running,
        (select count(*) from reeve.instance i where i.stopped_at is null)::bigint as n_workers,
        (select coalesce(sum(i.slots), 0) from reeve.instance i where i.stopped_at is null)::bigint as n_slots,
        (select coalesce(sum(i.busy), 0) from reeve.instance i where i.stopped_at is null)::bigint as n_busy,
        (select coalesce(max(m.version), 0) from reeve.schema_migration m)::bigint as schema_version
