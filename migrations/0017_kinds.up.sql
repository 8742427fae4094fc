-- What an operator does with a kind: to take it out of use, and to have the job of an instant made that was missed.

-- outcome: retired, not-found, served (detail: a host where a worker that lives has it) or in-use (detail: how many of its jobs have not
-- ended, counted to 1000). A worker that has the kind's file publishes it again when it starts. A job that a transaction hands over
-- meanwhile waits for that, as it does for a kind that no worker has.
create function reeve.retire_kind(name text, actor text, reason text, out outcome text, out detail text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
        perform from reeve.kind k where k.name = retire_kind.name for update;
        if not found then
                outcome := 'not-found';
                return;
        end if;
        select i.host || '/' || i.name into detail from reeve.instance i
        where i.stopped_at is null and retire_kind.name = any (i.kinds) order by 1 limit 1;
        if found then
                outcome := 'served';
                return;
        end if;
        select count(*)::text into detail from (
                select from (
                        select r.job from reeve.ready r union all select l.job from reeve.lease l
                        union all select s.job from reeve.scheduled s union all select w.job from reeve.waiting w
                        union all select b.job from reeve.blocked b) live
                cross join lateral (select j.kind from reeve.job j where j.id = live.job limit 1) j
                where j.kind = retire_kind.name limit 1000) n;
        if detail <> '0' then
                outcome := 'in-use';
                return;
        end if;
        delete from reeve.kind k where k.name = retire_kind.name;
        delete from reeve.expiry e where e.kind = retire_kind.name;
        insert into reeve.history (object, event, actor, reason) values ('kind/' || name, 'retire', actor, reason);
        outcome := 'retired';
        detail := null;
end $$;

revoke all on function reeve.retire_kind(text, text, text) from public;
grant execute on function reeve.retire_kind(text, text, text) to reeve_api;

-- As in 0004_schedule. missed: also of an instant before the last one, if no job of it is there.
drop function reeve.enqueue_scheduled(text, timestamptz, text);
create function reeve.enqueue_scheduled(kind text, instant timestamptz, host text, missed boolean default false) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_column
declare
        made uuid := reeve.uuidv7();
        body jsonb := jsonb_build_object('scheduled_for', to_char(enqueue_scheduled.instant, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
        r record;
begin
        insert into reeve.schedule as s (kind, instant, job, made_by)
        values (enqueue_scheduled.kind, enqueue_scheduled.instant, made, host)
        on conflict (kind) do update
        set instant = excluded.instant, job = excluded.job, made_by = excluded.made_by, made_at = clock_timestamp()
        where s.instant < excluded.instant;
        -- The row is locked also if it is of a later instant.
        if not found and (not missed or exists (
                select from reeve.schedule s where s.kind = enqueue_scheduled.kind and s.instant = enqueue_scheduled.instant)
                or exists (
                        select from reeve.job j
                        where j.kind = enqueue_scheduled.kind and j.id >= reeve.uuid_floor(enqueue_scheduled.instant)
                                and j.payload = body)) then
                return null;
        end if;
        select * into strict r from reeve.enqueue_batch(jsonb_build_array(jsonb_build_object('id', made,
                'kind', enqueue_scheduled.kind, 'created_by', 'timer:' || host, 'payload', body)));
        if r.outcome <> 'created' then
                raise exception '%', coalesce(r.detail, r.outcome) using errcode = '22023';
        end if;
        return made;
end $$;

revoke all on function reeve.enqueue_scheduled(text, timestamptz, text, boolean) from public;
grant execute on function reeve.enqueue_scheduled(text, timestamptz, text, boolean) to reeve_worker;
