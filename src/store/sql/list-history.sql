-- What happened to a job, oldest first, as a JSON array. Locks: none. Rows: one. Index: history_job, job and done pkey.
-- $1 uuid  $2 integer most
select coalesce(jsonb_agg(jsonb_strip_nulls(e.entry) order by e.at, e.ord), '[]')::text
from (
        select j.created_at as at, 0::bigint as ord, jsonb_build_object('at', j.created_at, 'event', 'enqueue',
                'actor', j.created_by) as entry
        from reeve.job j where j.id = $1::uuid
        union all
        (select h.at, h.id, jsonb_build_object('at', h.at, 'event', h.event, 'from', h.from_state, 'to', h.to_state,
                'run_id', h.run_id, 'attempt', h.attempt, 'interruptions', h.interruptions, 'cause', h.cause,
                'exit_status', h.exit_status, 'exit_signal', h.exit_signal, 'error_code', h.error_code,
                'error_message', h.error_message, 'host', h.host, 'unit', h.unit, 'log', h.log, 'actor', h.actor,
                'reason', h.reason, 'detail', h.detail)
        from reeve.history h where h.job = $1::uuid order by h.id limit $2::integer)
        union all
        select d.finished_at, 9223372036854775807, jsonb_build_object('at', d.finished_at, 'event', 'end',
                'to', d.state, 'run_id', d.run_id, 'attempt', d.attempt, 'interruptions', d.interruptions,
                'cause', d.cause, 'exit_status', d.exit_status, 'exit_signal', d.exit_signal,
                'error_code', d.error_code, 'error_message', d.error_message, 'host', d.host, 'unit', d.unit,
                'log', d.log, 'actor', d.actor, 'reason', d.reason)
        from reeve.done d where d.job = $1::uuid
) e
