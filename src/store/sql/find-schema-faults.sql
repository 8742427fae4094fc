-- What is wrong around the schema, beyond the migrations themselves: rows of level (error or warning), object, text.
with wanted (role, name, value) as (
        values ('reeve_worker', 'enable_seqscan', 'off'), ('reeve_worker', 'jit', 'off'),
                ('reeve_worker', 'plan_cache_mode', 'force_generic_plan'), ('reeve_api', 'enable_seqscan', 'off'),
                ('reeve_api', 'jit', 'off'), ('reeve_owner', 'jit', 'off'),
                ('reeve_worker', 'idle_in_transaction_session_timeout', null),
                ('reeve_api', 'idle_in_transaction_session_timeout', null),
                ('reeve_worker', 'statement_timeout', null), ('reeve_api', 'statement_timeout', null),
                ('reeve_worker', 'lock_timeout', null), ('reeve_api', 'lock_timeout', null)
), configured as (
        select r.rolname as role, s.setdatabase, split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value
        from pg_db_role_setting s
        left join pg_roles r on r.oid = s.setrole
        cross join unnest(s.setconfig) c
        where s.setdatabase in (0, (select d.oid from pg_database d where d.datname = current_database()))
)
select 'error' as level, 'index ' || x.indexrelid::regclass as object,
        'is invalid: drop it and make it again (reindex index concurrently ' || x.indexrelid::regclass || ')' as text
from pg_index x join pg_class c on c.oid = x.indexrelid
where c.relnamespace = to_regnamespace('reeve') and (not x.indisvalid or not x.indisready)
union all
select 'error', 'role ' || r, 'is missing: run bootstrap.sql as the database''s superuser'
from unnest('{reeve_owner,reeve_api,reeve_worker,reeve_submit}'::text[]) r
where not exists (select from pg_roles p where p.rolname = r)
union all
select 'warning', 'role ' || w.role,
        format('has no setting %s%s: run bootstrap.sql as the database''s superuser', w.name, coalesce(' = ' || w.value, ''))
from wanted w
where exists (select from pg_roles p where p.rolname = w.role) and not exists (
        select from configured c where c.role = w.role and c.name = w.name and (w.value is null or c.value = w.value))
union all
select 'error', 'server setting ' || s.name, format('is %s: %s', s.setting, w.why)
from (values ('fsync', 'a crash of the server can lose or damage everything, acknowledged jobs too'),
        ('full_page_writes', 'a crash of the server can damage the database'),
        ('synchronous_commit', 'a crash of the server loses jobs that were acknowledged as durable')) w (name, why)
join pg_settings s on s.name = w.name
where s.setting = 'off'
union all
select 'error', coalesce('role ' || c.role, 'database ' || current_database()),
        'has synchronous_commit = off: a crash of the server loses jobs that were acknowledged as durable'
from configured c
where c.name = 'synchronous_commit' and c.value = 'off'
        and (c.role is null or c.role in ('reeve_owner', 'reeve_api', 'reeve_worker'))
union all
select 'error', 'database ' || current_database(), 'has the encoding ' || current_setting('server_encoding') || ', not UTF8'
where current_setting('server_encoding') <> 'UTF8'
union all
select 'error', 'the server', 'is PostgreSQL ' || current_setting('server_version') || '; Reeve needs 15 or newer'
where current_setting('server_version_num')::integer < 150000
