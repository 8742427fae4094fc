-- What may go wrong with the server, as one JSON object of facts; who reads them judges. Sessions of others are told to
-- members of pg_read_all_stats only: "hidden" is how many were not. Rows: one. Locks: none. Lists have at most 5 entries.
with session as (
        select a.* from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid()
)
select jsonb_build_object(
        'now_usec', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
        'connections', (select coalesce(sum(d.numbackends), 0) from pg_stat_database d),
        'connections_max', current_setting('max_connections')::integer
                - current_setting('superuser_reserved_connections')::integer,
        'autovacuum', current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean,
        'hidden', (select count(*) from session s where s.query = '<insufficient privilege>'),
        'old_transactions', (select coalesce(jsonb_agg(t order by t.sec desc), '[]') from (
                select s.pid, s.usename as "user", s.application_name as application, s.state,
                        extract(epoch from clock_timestamp() - s.xact_start)::bigint as sec
                from session s
                where s.xact_start < clock_timestamp() - interval '5 minutes' and s.backend_type = 'client backend'
                order by s.xact_start limit 5) t),
        'prepared', (select coalesce(jsonb_agg(t order by t.sec desc), '[]') from (
                select p.gid, extract(epoch from clock_timestamp() - p.prepared)::bigint as sec from pg_prepared_xacts p
                where p.prepared < clock_timestamp() - interval '5 minutes' and p.database = current_database()
                order by p.prepared limit 5) t),
        'slots', (select coalesce(jsonb_agg(r.slot_name order by r.slot_name), '[]') from pg_replication_slots r
                where not r.active),
        'dead_rows', (select coalesce(jsonb_agg(t order by t.dead desc), '[]') from (
                select u.schemaname || '.' || u.relname as "table", u.n_dead_tup as dead, u.n_live_tup as live
                from pg_stat_user_tables u
                where u.schemaname in ('reeve', 'reeve_systems') and u.n_dead_tup > 50000 and u.n_dead_tup > u.n_live_tup
                order by u.n_dead_tup desc limit 5) t)
)::text as facts
