-- Takes back what 0003_maintenance made; results that expired and weeks that were dropped do not come back.
create or replace function reeve.job_status(id uuid) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'
begin atomic
        select jsonb_strip_nulls(jsonb_build_object(
                'id', j.id, 'kind', j.kind, 'queue', j.queue, 'priority', j.priority, 'tenant', j.tenant,
                'subject', j.subject, 'state', reeve.job_state(j.id), 'created_at', j.created_at,
                'run_at', s.run_at, 'deadline', j.deadline, 'parent', j.parent, 'retry_of', j.retry_of,
                'attempt', coalesce(d.attempt, l.attempt + 1, s.attempt, r.attempt, w.attempt, b.attempt),
                'max_attempts', j.max_attempts,
                'interruptions', coalesce(d.interruptions, l.interruptions, s.interruptions, r.interruptions,
                        w.interruptions, b.interruptions),
                'run_id', coalesce(d.run_id, l.run_id), 'started_at', coalesce(d.claimed_at, l.claimed_at),
                'finished_at', d.finished_at, 'children', w.children, 'children_pending', w.pending,
                'progress', coalesce(w.progress_from + (w.progress_to - w.progress_from) * (w.children - w.pending) / w.children,
                        p.percent),
                'status', case when w.job is not null
                        then format('%s of %s children have ended', w.children - w.pending, w.children) else p.status end,
                'cause', d.cause, 'exit_status', d.exit_status, 'exit_signal', d.exit_signal, 'host', d.host, 'unit', d.unit, 'cpu_usec', d.cpu_usec,
                'max_rss', d.max_rss, 'result_blob', d.result_blob, 'actor', d.actor, 'reason', d.reason,
                'error', case when d.error_code is not null
                        then jsonb_build_object('code', d.error_code, 'message', d.error_message) end))
                || case when d.result is not null then jsonb_build_object('result', d.result) else '{}' end
        from reeve.job j
        left join reeve.done d on d.job = j.id
        left join reeve.lease l on l.job = j.id
        left join reeve.scheduled s on s.job = j.id
        left join reeve.ready r on r.job = j.id
        left join reeve.waiting w on w.job = j.id
        left join reeve.blocked b on b.job = j.id
        left join reeve.progress p on p.job = j.id
        where j.id = job_status.id;
end;

create or replace function reeve.retry_job(id uuid, tenant text, subject text, actor text, reason text default null,
        new_id uuid default reeve.uuidv7())
returns table (outcome text, job uuid, detail text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        old record;
begin
        select j.* into old from reeve.job j
        where j.id = retry_job.id and j.tenant = coalesce(retry_job.tenant, j.tenant)
                and (retry_job.subject is null or j.subject = retry_job.subject);
        if not found then
                return query select 'not-found', null::uuid, null::text;
                return;
        end if;
        if exists (select from reeve.job j where j.id = new_id and j.retry_of = retry_job.id) then
                return query select 'created', new_id, null::text;
                return;
        end if;
        if not exists (select from reeve.done d where d.job = retry_job.id) then
                return query select 'live', null::uuid, null::text;
                return;
        end if;
        select case e.outcome when 'created' then e.outcome when 'exists' then e.outcome else 'refused' end, e.job, e.detail
        into outcome, job, detail
        from reeve.enqueue_batch(jsonb_build_array(jsonb_build_object('id', new_id, 'kind', old.kind, 'payload', old.payload,
                'payload_blob', old.payload_blob, 'inputs', old.inputs, 'queue', old.queue, 'priority', old.priority,
                'tenant', old.tenant, 'subject', old.subject, 'max_attempts', old.max_attempts,
                'timeout_usec', old.timeout_usec, 'unique_key', old.unique_key, 'retry_of', old.id,
                'created_by', actor))) e;
        if outcome = 'created' then
                insert into reeve.history (job, event, actor, reason, detail)
                values (retry_job.id, 'retry', actor, reason, jsonb_build_object('job', new_id));
        end if;
        return next;
end $$;

create or replace function reeve.ensure_partitions(until timestamptz default now() + interval '28 days') returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        week timestamptz := date_trunc('week', now() - interval '7 days', 'UTC');
        suffix text;
        n_made integer := 0;
begin
        if until > now() + interval '400 days' then
                raise exception 'partitions are made for at most 400 days';
        end if;
        perform pg_advisory_xact_lock(7310593858020254331);
        while week <= until loop
                suffix := to_char(week at time zone 'UTC', 'YYYYMMDD');
                if to_regclass('reeve.job_' || suffix) is null then
                        execute format('create table reeve.%I partition of reeve.job for values from (%L) to (%L)',
                                'job_' || suffix, reeve.uuid_floor(week), reeve.uuid_floor(week + interval '7 days'));
                        execute format('create table reeve.%I partition of reeve.done for values from (%L) to (%L)',
                                'done_' || suffix, reeve.uuid_floor(week), reeve.uuid_floor(week + interval '7 days'));
                        n_made := n_made + 1;
                end if;
                week := week + interval '7 days';
        end loop;
        return n_made;
end $$;

drop function reeve.mark_orphans();
drop function reeve.drop_week(timestamptz);
drop function reeve.forget_week(timestamptz, integer);
drop function reeve.oldest_week(timestamptz);
drop function reeve.expire_results(integer);
drop function reeve.is_over(uuid);
drop table reeve.late_result, reeve.expiry;
alter table reeve.blob drop column orphan_since;
alter table reeve.done drop column expired_at;
