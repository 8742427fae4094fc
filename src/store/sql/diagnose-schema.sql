-- What may go wrong with what is in the schema, as one JSON object of facts. Rows: one. Locks: none.
-- Index: done_state, for the jobs of the last hour and day, counted to 10000; the default partitions' primary keys.
select jsonb_build_object(
        'version', (select coalesce(max(m.version), 0) from reeve.schema_migration m),
        'interrupted', (select count(*) from (
                select from reeve.done d
                where d.state = 'failed' and d.job >= reeve.uuid_floor(statement_timestamp() - interval '1 day')
                        and d.error_code = 'INTERRUPTED_TOO_OFTEN' limit 10000) t),
        'failed', (select count(*) from (
                select from reeve.done d
                where d.state = 'failed' and d.job >= reeve.uuid_floor(statement_timestamp() - interval '1 hour')
                limit 10000) t),
        'succeeded', (select count(*) from (
                select from reeve.done d
                where d.state = 'succeeded' and d.job >= reeve.uuid_floor(statement_timestamp() - interval '1 hour')
                limit 10000) t),
        'in_default', exists (select from reeve.job_default) or exists (select from reeve.done_default),
        'keys', (select coalesce(jsonb_agg(t order by t.sec), '[]') from (
                select k.id, k.name, extract(epoch from k.expires_at - clock_timestamp())::bigint as sec
                from reeve.api_key k
                where k.revoked_at is null and k.expires_at < clock_timestamp() + interval '7 days'
                order by k.expires_at limit 5) t)
)::text as facts
