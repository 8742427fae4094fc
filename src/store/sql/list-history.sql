-- What happened to a job, oldest first, as a JSON array: its making, requests and what came of them, its last run, its end.
-- What the history says of an end is in its row of done as well, and told once: as the end; the request before it stays a
-- request. An attempt is given by its number, also where it did not count.
-- Locks: none. Rows: one. Index: history_job, job, lease and done pkey. $1 uuid  $2 integer most
with ended as (
        select d.*, (d.run_id is not null and (coalesce(d.error_code, '') = 'INTERRUPTED_TOO_OFTEN' or d.state = 'cancelled'
                and d.cause not in ('exit', 'signal', 'timeout', 'watchdog', 'input-error')))::integer as uncounted
        from reeve.done d where d.job = $1::uuid
), noted as (
        select h.*, (h.run_id is not null and h.event in ('interrupt', 'not-run', 'cancel'))::integer as uncounted
        from reeve.history h where h.job = $1::uuid order by h.id limit $2::integer
), entry as (
        select j.created_at as at, 0 as class, 0::bigint as ord, jsonb_build_object('event', 'enqueue',
                'actor', j.created_by) as entry
        from reeve.job j where j.id = $1::uuid
        union all
        select l.claimed_at, 2, l.run_id, jsonb_build_object('event', 'start', 'from', 'ready', 'to', 'running', 'run_id', l.run_id,
                'attempt', l.attempt + 1, 'interruptions', l.interruptions, 'host', i.host, 'actor', i.name)
        from reeve.lease l left join reeve.instance i on i.id = l.instance where l.job = $1::uuid
        union all
        select d.claimed_at, 2, d.run_id, jsonb_build_object('event', 'start', 'from', 'ready', 'to', 'running', 'run_id', d.run_id,
                'attempt', greatest(d.attempt + d.uncounted, 1), 'host', d.host)
        from ended d where d.claimed_at is not null and d.cause <> 'deadline'
        union all
        select least(n.at, d.finished_at), 1, n.id, jsonb_strip_nulls(jsonb_build_object('event', n.event, 'from', n.from_state,
                'to', case when n.event <> 'cancel' then n.to_state end, 'run_id', n.run_id,
                'attempt', case when n.run_id is not null then n.attempt + n.uncounted end, 'interruptions', n.interruptions,
                'cause', case when n.event <> 'cancel' then n.cause end, 'exit_status', n.exit_status,
                'exit_signal', n.exit_signal, 'error_code', n.error_code, 'error_message', n.error_message, 'host', n.host,
                'unit', n.unit, 'log', n.log, 'actor', n.actor, 'reason', n.reason, 'detail', n.detail))
        from noted n left join ended d on n.to_state in ('succeeded', 'failed', 'cancelled')
        where d.job is null or n.event = 'cancel' and not exists (
                select from noted r where r.event = 'cancel' and r.to_state is null and r.run_id = n.run_id)
        union all
        select d.finished_at, 3, 9223372036854775807, jsonb_build_object('event', 'end', 'to', d.state, 'run_id', d.run_id,
                'attempt', case when d.run_id is not null then d.attempt + d.uncounted end, 'interruptions', d.interruptions,
                'cause', d.cause, 'exit_status', d.exit_status, 'exit_signal', d.exit_signal, 'error_code', d.error_code,
                'error_message', d.error_message, 'host', d.host, 'unit', d.unit, 'log', d.log, 'actor', d.actor,
                'reason', d.reason)
        from ended d
)
select coalesce(jsonb_agg(jsonb_build_object('at', e.at) || jsonb_strip_nulls(e.entry)
        order by e.at, e.class, e.ord), '[]')::text
from entry e
