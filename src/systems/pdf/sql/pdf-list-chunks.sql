-- The chunks of a document, as system 004 shows them: each is a child. Locks: none. Rows: one: the body.
-- Index: job_parent, and one probe for each table and child. $1 uuid
select json_build_object(
        'job_id', $1::uuid,
        'total_chunks', count(*),
        'chunks', coalesce(json_agg(json_build_object(
                'chunk_id', p.chunk,
                'task_id', p.job,
                'status', p.status,
                'start_page', p.first_page,
                'end_page', p.last_page,
                'page_count', p.last_page - p.first_page + 1,
                'attempts', p.attempts,
                'max_retries', p.max_attempts,
                'last_error_code', p.error_code,
                'last_error', p.error_message,
                'created_at', p.created_at,
                'started_at', p.started_at,
                'processed_at', p.finished_at) order by p.chunk), '[]'),
        'summary', json_build_object(
                'pending', count(*) filter (where p.status = 'pending'),
                'processing', count(*) filter (where p.status = 'processing'),
                'success', count(*) filter (where p.status = 'success'),
                'failed', count(*) filter (where p.status = 'failed'),
                'retry_scheduled', count(*) filter (where p.status = 'retry_scheduled'))
        )::text
from reeve_systems.pdf_chunks($1::uuid) p
