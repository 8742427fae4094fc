-- A document's job as system 004 shows it. Locks: none. Rows: 0 or 1: tenant, subject, status, whether it has its
-- document, the code and the message of its error, and the body. Index: one probe for each table, job_parent.
-- $1 uuid
select j.tenant, j.subject, x.status, (j.inputs is not null)::text, s.job #>> '{error,code}', s.job #>> '{error,message}',
        json_build_object(
                'job_id', j.id,
                'task_id', j.id,
                'user_id', j.subject,
                'status', x.status,
                'progress_percent', case x.status when 'completed' then 100 else coalesce((s.job ->> 'progress')::integer, 0) end,
                'current_step', case x.status when 'completed' then 'done' when 'failed' then 'failed' when 'cancelled' then 'cancelled'
                        else coalesce(s.job ->> 'status', case x.status when 'pending' then 'waiting' else 'starting' end) end,
                'total_chunks', c.total,
                'processed_chunks', c.processed,
                'chunk_results', c.results,
                'failed_chunks', c.failed,
                'retry_count', greatest(coalesce((s.job ->> 'attempt')::integer, 0) - 1, 0),
                'max_retries', j.max_attempts,
                'is_cancelled', x.status = 'cancelled' or l.cancel_actor is not null,
                'cancelled_at', case x.status when 'cancelled' then s.job -> 'finished_at' end,
                'cancelled_by', case x.status when 'cancelled' then s.job ->> 'actor' else l.cancel_actor end,
                'original_filename', j.inputs -> 0 ->> 'name',
                'file_size', j.inputs -> 0 -> 'size',
                'queue', j.queue,
                'created_at', s.job -> 'created_at',
                'started_at', x.started_at,
                'completed_at', s.job -> 'finished_at',
                'processing_time_seconds', round(extract(epoch from
                        coalesce((s.job ->> 'finished_at')::timestamptz, clock_timestamp()) - x.started_at), 3),
                'error_code', s.job #>> '{error,code}',
                'error_message', s.job #>> '{error,message}',
                'gemini_api_calls', 0,
                'gemini_tokens_used', 0,
                'estimated_tokens', null,
                'actual_tokens', null,
                'estimated_credits', null,
                'actual_credits', null,
                'pricing_version', null,
                'pricing_rate', null,
                'retry_of', j.retry_of,
                'result', s.job -> 'result',
                'task_state', json_build_object(
                        'state', case
                        when x.status = 'completed' then 'SUCCESS'
                        when x.status = 'failed' then 'FAILURE'
                        when x.status = 'cancelled' then 'REVOKED'
                        when x.status = 'pending' then 'PENDING'
                        when s.job ->> 'state' = 'scheduled' then 'RETRY'
                        else 'STARTED' end,
                        'info', json_build_object('state', s.job -> 'state', 'attempt', s.job -> 'attempt',
                                'interruptions', s.job -> 'interruptions', 'run_id', s.job -> 'run_id'))
        )::text
from (select * from reeve.job k where k.id = $1::uuid and k.kind = 'pdf' limit 1) j
cross join lateral (select reeve.job_status(j.id) offset 0) s (job)
left join reeve.lease l on l.job = j.id
cross join lateral (
        select count(*) as total, count(*) filter (where p.status in ('success', 'failed')) as processed, min(p.created_at) as split_at,
                coalesce(json_agg(json_build_object('chunk_id', p.chunk, 'start_page', p.first_page, 'end_page', p.last_page,
                        'pages_read', jsonb_array_length(p.result -> 'pages')) order by p.chunk)
                        filter (where p.status = 'success'), '[]') as results,
                coalesce(json_agg(json_build_object('chunk_id', p.chunk, 'start_page', p.first_page, 'end_page', p.last_page,
                        'error_code', p.error_code, 'error', p.error_message) order by p.chunk)
                        filter (where p.status = 'failed'), '[]') as failed
        from reeve_systems.pdf_chunks(j.id) p
) c
cross join lateral (
        select case s.job ->> 'state'
                when 'succeeded' then 'completed'
                when 'failed' then 'failed'
                when 'cancelled' then 'cancelled'
                when 'running' then 'processing'
                when 'waiting' then 'processing'
                else case when c.total > 0 or (s.job ->> 'attempt')::integer > 0 or (s.job ->> 'interruptions')::integer > 0
                        then 'processing' else 'pending' end end as status,
                least(c.split_at, (s.job ->> 'started_at')::timestamptz) as started_at
) x
