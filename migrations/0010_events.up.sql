-- What changed since somebody looked: each of these rows says which transaction made it, so that what is committed late is
-- not passed by. Rows that are there already have none: they are older than anybody's look.

alter table reeve.job add column xid xid8;
alter table reeve.job alter column xid set default pg_current_xact_id();
create index job_xid on reeve.job (xid, id) where xid is not null;

alter table reeve.done add column xid xid8;
alter table reeve.done alter column xid set default pg_current_xact_id();
create index done_xid on reeve.done (xid, job) where xid is not null;

alter table reeve.history add column xid xid8;
alter table reeve.history alter column xid set default pg_current_xact_id();
create index history_xid on reeve.history (xid, job) where xid is not null and job is not null;

-- Searched by run_id, from which on nothing was claimed before.
alter table reeve.lease add column xid xid8;
alter table reeve.lease alter column xid set default pg_current_xact_id();

-- Jobs as JSON, as job_status() has them, many at a time; those that are no more are left out. In a language whose plans are
-- kept: to plan these joins takes longer than to run them.
create function reeve.job_statuses(ids uuid[]) returns table (job uuid, body jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
        return query
        select j.id, jsonb_strip_nulls(jsonb_build_object(
                'id', j.id, 'kind', j.kind, 'queue', j.queue, 'priority', j.priority, 'tenant', j.tenant,
                'subject', j.subject, 'state', coalesce(d.state, case
                        when l.job is not null then 'running' when r.job is not null then 'ready'
                        when s.job is not null then 'scheduled' when w.job is not null then 'waiting'
                        when b.job is not null then 'blocked' end), 'created_at', j.created_at,
                'run_at', s.run_at, 'deadline', j.deadline, 'parent', j.parent, 'retry_of', j.retry_of,
                'attempt', coalesce(d.attempt, l.attempt + 1, s.attempt, r.attempt, w.attempt, b.attempt),
                'max_attempts', j.max_attempts,
                'interruptions', coalesce(d.interruptions, l.interruptions, s.interruptions, r.interruptions,
                        w.interruptions, b.interruptions),
                'run_id', coalesce(d.run_id, l.run_id), 'started_at', coalesce(d.claimed_at, l.claimed_at),
                'finished_at', d.finished_at, 'expired_at', d.expired_at, 'children', w.children, 'children_pending', w.pending,
                'progress', coalesce(w.progress_from + (w.progress_to - w.progress_from) * (w.children - w.pending) / w.children,
                        p.percent),
                'status', case when w.job is not null
                        then format('%s of %s children have ended', w.children - w.pending, w.children) else p.status end,
                'cause', d.cause, 'exit_status', d.exit_status, 'exit_signal', d.exit_signal, 'host', d.host, 'unit', d.unit, 'cpu_usec', d.cpu_usec,
                'max_rss', d.max_rss, 'result_blob', d.result_blob, 'actor', d.actor, 'reason', d.reason,
                'error', case when d.error_code is not null
                        then jsonb_build_object('code', d.error_code, 'message', d.error_message) end,
                'last_error', case when d.job is null then (
                        select jsonb_build_object('code', h.error_code, 'message', h.error_message, 'host', h.host, 'at', h.at)
                        from reeve.history h
                        where h.job = j.id and h.error_code is not null
                        order by h.id desc limit 1) end))
                || case when d.result is not null then jsonb_build_object('result', d.result) else '{}' end
        from unnest(ids) i (id)
        cross join lateral (select * from reeve.job x where x.id = i.id limit 1) j
        left join lateral (select * from reeve.done x where x.job = i.id limit 1) d on true
        left join lateral (select * from reeve.lease x where x.job = i.id limit 1) l on true
        left join lateral (select * from reeve.scheduled x where x.job = i.id limit 1) s on true
        left join lateral (select * from reeve.ready x where x.job = i.id limit 1) r on true
        left join lateral (select * from reeve.waiting x where x.job = i.id limit 1) w on true
        left join lateral (select * from reeve.blocked x where x.job = i.id limit 1) b on true
        left join lateral (select * from reeve.progress x where x.job = i.id limit 1) p on true;
end $$;

create or replace function reeve.job_status(id uuid) returns jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'
return (select s.body from reeve.job_statuses(array[id]) s);

revoke all on function reeve.job_statuses(uuid[]) from public;
grant execute on function reeve.job_statuses(uuid[]) to reeve_api, reeve_worker;
