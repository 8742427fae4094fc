-- Who we are and what the server is. registry: reeve.schema_migration is there. missing_roles: those of bootstrap.sql
-- that are not, separated by commas. Rows: one. Locks: none.
select current_setting('server_version_num')::integer as version_num, current_setting('server_version') as version,
        current_database() as database, current_user as role, current_setting('server_encoding') as encoding,
        pg_is_in_recovery() as standby, current_setting('transaction_read_only')::boolean as read_only,
        to_regclass('reeve.schema_migration') is not null as registry,
        to_regclass('reeve.instance') is not null as instances,
        (select string_agg(r, ', ' order by r)
                from unnest('{reeve_owner,reeve_api,reeve_worker,reeve_submit}'::text[]) r
                where not exists (select from pg_roles p where p.rolname = r)) as missing_roles
