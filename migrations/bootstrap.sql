-- What only a superuser (or a role with CREATEROLE and CREATEDB) can do, once for a cluster; safe to repeat.
--   psql -X -v ON_ERROR_STOP=1 [-v database=reeve] -d postgres -f bootstrap.sql
-- The embedded cluster runs it by itself. For a database elsewhere its administrator runs it, then adds what lets the
-- roles in (passwords or pg_ident lines): see reeve-migrate(8).
\if :{?database}
\else
\set database reeve
\endif

-- reeve_owner owns the schema (reeved, reeve-migrate); reeve_api and reeve_worker are the daemons; reeve_submit is
-- what an application's own role is granted so that it may call reeve.enqueue().
select format('create role %I %s', r.name, r.options)
from (values ('reeve_owner', 'login'), ('reeve_api', 'login'), ('reeve_worker', 'login'), ('reeve_submit', 'nologin'))
        as r (name, options)
where not exists (select from pg_roles p where p.rolname = r.name)
\gexec

-- Settings by role, because a pooler in transaction mode passes none on. The planner must not choose a sequential scan
-- for the queue's statements: it plans them while the tables are empty (measured: 2,590 jobs/s fall to 1,610).
alter role reeve_worker set enable_seqscan = off;
alter role reeve_worker set jit = off;
-- Nor plan anew each time: its statements take arrays, for which a plan of its own always looks cheaper, and making it costs
-- more than running it (measured: a claim and its end take 2.6 ms of processor time, 1.1 without).
alter role reeve_worker set plan_cache_mode = force_generic_plan;
alter role reeve_api set enable_seqscan = off;
alter role reeve_api set jit = off;
alter role reeve_api set timezone = 'UTC'; -- the times in its answers
alter role reeve_owner set jit = off;
alter role reeve_worker set idle_in_transaction_session_timeout = '60s';
alter role reeve_api set idle_in_transaction_session_timeout = '60s';
alter role reeve_worker set statement_timeout = '30s';
alter role reeve_api set statement_timeout = '30s';
-- Rows may be held by whoever calls reeve.cancel() or reeve.enqueue() in a transaction of his own, for as long as he likes.
-- All statements of a program share a connection: one that waited would hold up the rest.
alter role reeve_worker set lock_timeout = '500ms';
alter role reeve_api set lock_timeout = '500ms';

-- For reevectl doctor: it looks for transactions of others that have been open for long. (From 16 on only who may grant it can.)
select 'grant pg_read_all_stats to reeve_owner'
where current_setting('server_version_num')::integer < 160000
        or pg_has_role('pg_read_all_stats', 'member with admin option')
        or (select r.rolsuper from pg_roles r where r.rolname = current_user)
\gexec

select format('create database %I owner reeve_owner template template0 encoding ''UTF8'' lc_collate ''C'' lc_ctype ''C''',
        :'database')
where not exists (select from pg_database d where d.datname = :'database')
\gexec

grant create, connect, temporary on database :"database" to reeve_owner;
grant connect on database :"database" to reeve_api, reeve_worker, reeve_submit;
