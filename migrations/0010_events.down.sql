-- Takes back what 0010_events made.
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
drop function reeve.job_statuses(uuid[]);

alter table reeve.lease drop column xid;
drop index reeve.history_xid;
alter table reeve.history drop column xid;
drop index reeve.done_xid;
alter table reeve.done drop column xid;
drop index reeve.job_xid;
alter table reeve.job drop column xid;
