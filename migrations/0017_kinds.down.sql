drop function reeve.retire_kind(text, text, text);

drop function reeve.enqueue_scheduled(text, timestamptz, text, boolean);
create function reeve.enqueue_scheduled(kind text, instant timestamptz, host text) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_column
declare
        made uuid := reeve.uuidv7();
        r record;
begin
        insert into reeve.schedule as s (kind, instant, job, made_by)
        values (enqueue_scheduled.kind, enqueue_scheduled.instant, made, host)
        on conflict (kind) do update
        set instant = excluded.instant, job = excluded.job, made_by = excluded.made_by, made_at = clock_timestamp()
        where s.instant < excluded.instant;
        if not found then
                return null;
        end if;
        select * into strict r from reeve.enqueue_batch(jsonb_build_array(jsonb_build_object('id', made,
                'kind', enqueue_scheduled.kind, 'created_by', 'timer:' || host,
                'payload', jsonb_build_object('scheduled_for', to_char(enqueue_scheduled.instant, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))));
        if r.outcome <> 'created' then
                raise exception '%', coalesce(r.detail, r.outcome) using errcode = '22023';
        end if;
        return made;
end $$;

revoke all on function reeve.enqueue_scheduled(text, timestamptz, text) from public;
grant execute on function reeve.enqueue_scheduled(text, timestamptz, text) to reeve_worker;
