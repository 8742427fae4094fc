-- Sessions that hold locks on anything in schema reeve, or the lock of a migration: whom a migration waits for. Rows: few.
select format('process %s (%s%s), %s, in a transaction for %s s', a.pid, coalesce(a.usename::text, 'unknown'),
        coalesce(', ' || nullif(a.application_name, ''), ''), coalesce(a.state, 'state unknown'),
        coalesce(round(extract(epoch from clock_timestamp() - a.xact_start))::text, '?')) as line
from pg_stat_activity a
where a.pid <> pg_backend_pid() and a.pid in (
        select l.pid from pg_locks l
        where l.granted and l.database = (select d.oid from pg_database d where d.datname = current_database())
                and (l.relation in (select c.oid from pg_class c where c.relnamespace = to_regnamespace('reeve'))
                        or (l.locktype = 'advisory' and l.objsubid = 1
                                and (l.classid::bigint << 32 | l.objid::bigint) = 6010733017283926834)))
order by a.xact_start
limit 20
