-- Destructive: every job, result and record of what happened goes.
drop function reeve.job_status(uuid);
drop function reeve.cancel(uuid);
drop function reeve.enqueue(text, jsonb, jsonb);
drop function reeve.spawn_children(bigint, uuid, jsonb, text, integer, smallint, smallint);
drop function reeve.expire_deadlines(interval, integer);
drop function reeve.retry_job(uuid, text, text, text, text, uuid);
drop function reeve.cancel_job(uuid, text, text);
drop function reeve.end_idle_job(uuid, text, text, text, text);
drop function reeve.job_state(uuid);
drop function reeve.enqueue_batch(jsonb);
drop type reeve.enqueue_input;
drop function reeve.children_ended(uuid[], boolean);
drop function reeve.lock_parents(bigint[]);
drop function reeve.ensure_partitions(timestamptz);
drop table reeve.api_key, reeve.blob_ref, reeve.blob, reeve.progress, reeve.key, reeve.history, reeve.done, reeve.cancel_request,
        reeve.lease, reeve.instance, reeve.waiting, reeve.blocked, reeve.scheduled, reeve.ready, reeve.job, reeve.queue,
        reeve.kind;
drop sequence reeve.run_seq, reeve.ready_seq;
drop function reeve.uuid_floor(timestamptz);
drop function reeve.uuidv7(timestamptz);
drop function reeve.lane(text, text, text, smallint);
