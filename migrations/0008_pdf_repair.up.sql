-- What mends a document whose chunks have failed or hang: again, without them, or not at all.

-- Makes another child for each of these chunks of a job that waits for its chunks; the caller holds the waiting row.
create function reeve_systems.pdf_add_children(parent uuid, chunks integer[], actor text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        n integer;
begin
        with old as (
                select c.chunk, o.*
                from reeve_systems.pdf_chunks(parent) c join reeve.job o on o.id = c.job
                where c.chunk = any (chunks)
        ), asked as (
                select jsonb_agg(jsonb_build_object('kind', o.kind, 'payload', o.payload, 'inputs', o.inputs, 'queue', o.queue,
                        'priority', o.priority, 'tenant', o.tenant, 'subject', o.subject, 'max_attempts', o.max_attempts,
                        'timeout_usec', o.timeout_usec, 'parent', parent, 'grp', 0, 'created_by', actor,
                        'child_no', (select max(x.child_no) from reeve.job x where x.parent = pdf_add_children.parent)
                                + row_number) order by o.chunk) as jobs
                from (select o.*, row_number() over (order by o.chunk) from old o) o
        )
        select count(*) filter (where e.outcome = 'created') into n from asked a, reeve.enqueue_batch(a.jobs) e;
        if n is distinct from cardinality(chunks) then
                raise exception 'not all chunks of job % could be made again', parent using errcode = '22023';
        end if;
        update reeve.waiting w set pending = w.pending + n, children = w.children + n where w.job = parent;
        insert into reeve.history (job, event, from_state, to_state, actor, detail)
        values (parent, 'chunks-retry', 'waiting', 'waiting', actor, jsonb_build_object('chunks', to_jsonb(chunks)));
        return n;
end $$;

-- A new job like one that has ended, with the same chunks: these are read again, the others are taken over as they ended.
-- It waits for its chunks from the start.
create function reeve_systems.pdf_redo(id uuid, new_id uuid, chunks integer[], actor text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        c record;
        child uuid;
        made jsonb := '[]';
begin
        insert into reeve.job (id, kind, queue, priority, tenant, subject, payload, payload_blob, inputs, max_attempts,
                max_interruptions, timeout_usec, retry_of, created_by)
        select new_id, j.kind, j.queue, j.priority, j.tenant, j.subject, j.payload, j.payload_blob, j.inputs, j.max_attempts,
                j.max_interruptions, j.timeout_usec, j.id, actor
        from reeve.job j where j.id = pdf_redo.id;
        insert into reeve.blob_ref (job, direction, name, tenant, digest, size, content_type)
        select new_id, b.direction, b.name, b.tenant, b.digest, b.size, b.content_type
        from reeve.blob_ref b where b.job = pdf_redo.id and b.direction in ('input', 'payload');
        insert into reeve.waiting (job, pending, children, progress_from, progress_to, lane)
        select j.id, cardinality(chunks), cardinality(chunks), 15, 75, reeve.lane(j.queue, j.kind, j.tenant, j.priority)
        from reeve.job j where j.id = new_id;

        for c in
                select p.chunk, o.*
                from reeve_systems.pdf_chunks(pdf_redo.id) p join reeve.job o on o.id = p.job order by p.chunk
        loop
                if c.chunk = any (chunks) then
                        made := made || jsonb_build_object('kind', c.kind, 'payload', c.payload, 'inputs', c.inputs,
                                'queue', c.queue, 'priority', c.priority, 'tenant', c.tenant, 'subject', c.subject,
                                'max_attempts', c.max_attempts, 'timeout_usec', c.timeout_usec, 'parent', new_id,
                                'child_no', c.chunk, 'grp', 0, 'created_by', actor);
                        continue;
                end if;
                child := reeve.uuidv7();
                insert into reeve.job (id, kind, queue, priority, tenant, subject, payload, inputs, max_attempts,
                        max_interruptions, timeout_usec, parent, child_no, retry_of, created_by)
                values (child, c.kind, c.queue, c.priority, c.tenant, c.subject, c.payload, c.inputs, c.max_attempts,
                        c.max_interruptions, c.timeout_usec, new_id, c.chunk, c.id, actor);
                insert into reeve.done (job, state, claimed_at, run_id, attempt, interruptions, cause, exit_status, exit_signal,
                        error_code, error_message, result, result_blob, host, unit, cpu_usec, max_rss, actor, reason)
                select child, d.state, d.claimed_at, d.run_id, d.attempt, d.interruptions, d.cause, d.exit_status, d.exit_signal,
                        d.error_code, d.error_message, d.result, d.result_blob, d.host, d.unit, d.cpu_usec, d.max_rss, d.actor,
                        d.reason
                from reeve.done d where d.job = c.id;
                insert into reeve.blob_ref (job, direction, name, tenant, digest, size, content_type, run_id)
                select child, b.direction, b.name, b.tenant, b.digest, b.size, b.content_type, b.run_id
                from reeve.blob_ref b where b.job = c.id;
        end loop;
        if (select count(*) from reeve.enqueue_batch(made) e where e.outcome = 'created') <> cardinality(chunks) then
                raise exception 'not all chunks of job % could be made again', id using errcode = '22023';
        end if;
        insert into reeve.history (job, event, actor, detail)
        values (id, 'retry', actor, jsonb_build_object('job', new_id, 'chunks', to_jsonb(chunks)));
end $$;

-- Has chunks of a document read again: those named that have failed (null: all that have), unless they were made as often
-- as the job may be tried; with force these too, and those that succeeded. A job that has ended is left as it is: a new
-- one does it. The caller has seen that the job is a document's and that he may. Outcome: retried (job: this one), created
-- (job: the new one), none (no chunk is to be read again), unknown-chunk, no-chunks, busy (it is split or put together at
-- the moment), expired (its files are gone).
create function reeve_systems.pdf_retry_chunks(id uuid, chunk_ids integer[], force boolean, actor text, new_id uuid)
returns table (outcome text, job uuid, chunks integer[])
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        is_waiting boolean;
        ended record;
begin
        perform from reeve.waiting w where w.job = id for update;
        is_waiting := found;
        select d.expired_at into ended from reeve.done d where d.job = id;
        job := id;
        if not found and not is_waiting then
                outcome := 'busy';
                return next;
                return;
        end if;

        select array_agg(c.chunk order by c.chunk) filter (
                        where (chunk_ids is null or c.chunk = any (chunk_ids))
                        and ((c.status = 'failed' and (force or (
                                        select count(*) from reeve.job x where x.parent = id and x.payload -> 'chunk' = to_jsonb(c.chunk)
                                ) < c.max_attempts))
                                or (force and c.status = 'success'))),
                case when count(*) = 0 then 'no-chunks'
                when exists (select from unnest(chunk_ids) i where i <> all (array_agg(c.chunk))) then 'unknown-chunk' end
        into chunks, outcome
        from reeve_systems.pdf_chunks(id) c;
        if outcome is null then
                outcome := case when chunks is null then 'none' when is_waiting then 'retried'
                        when ended.expired_at is not null then 'expired' else 'created' end;
        end if;
        if outcome = 'retried' then
                perform reeve_systems.pdf_add_children(id, chunks, actor);
        elsif outcome = 'created' then
                perform reeve_systems.pdf_redo(id, new_id, chunks, actor);
                job := new_id;
        end if;
        return next;
end $$;

-- Ends what is left of a document's chunks, so that it is put together from those that are there. Returns how many were
-- ended or told to end; null if the job waits for none.
create function reeve_systems.pdf_force_finalize(id uuid, actor text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        child uuid;
        n integer := 0;
begin
        perform from reeve.waiting w where w.job = id for update;
        if not found then
                return null;
        end if;
        for child in
                select j.id from reeve.job j
                where j.parent = pdf_force_finalize.id and not exists (select from reeve.done d where d.job = j.id)
                order by j.id
        loop
                if reeve.cancel_job(child, actor, 'FINALIZE_TIMEOUT: its document was to be finished without it')
                                in ('cancelled', 'cancelling') then
                        n := n + 1;
                end if;
        end loop;
        insert into reeve.history (job, event, from_state, actor, detail)
        values (id, 'force-finalize', 'waiting', actor, jsonb_build_object('chunks', n));
        return n;
end $$;

-- Ends runs of chunks that have been going on for longer than this, of all documents; each chunk is read again, unless it
-- was made as often as it may be tried.
create function reeve_systems.pdf_reconcile(older interval, actor text, out n_stuck integer, out n_retried integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        stuck record;
begin
        n_stuck := 0;
        n_retried := 0;
        for stuck in
                select l.job, j.parent, (j.payload ->> 'chunk')::integer as chunk, j.max_attempts
                from reeve.lease l join reeve.job j on j.id = l.job
                where l.claimed_at < clock_timestamp() - older and l.cancel_actor is null and j.kind = 'pdf-chunk'
                order by j.parent, l.job
        loop
                perform from reeve.waiting w where w.job = stuck.parent for update;
                if found and (select count(*) from reeve.job x where x.parent = stuck.parent
                                and x.payload -> 'chunk' = to_jsonb(stuck.chunk)) < stuck.max_attempts then
                        perform reeve_systems.pdf_add_children(stuck.parent, array[stuck.chunk], actor);
                        n_retried := n_retried + 1;
                end if;
                if reeve.cancel_job(stuck.job, actor, 'WATCHDOG_FORCED_FAIL: its run took too long')
                                in ('cancelled', 'cancelling') then
                        n_stuck := n_stuck + 1;
                end if;
        end loop;
end $$;

-- Ends documents that have been processed for longer than this: those that wait fail with JOB_TIMEOUT, a run of the job
-- itself is told to end. Those that nobody has claimed yet are left alone.
create function reeve_systems.pdf_terminate_stuck(older interval, actor text) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        why constant text := 'JOB_TIMEOUT: it was processed for too long';
        late uuid;
        ended uuid[] := '{}';
begin
        for late in
                select j.id
                from (select w.job from reeve.waiting w union all select l.job from reeve.lease l
                        union all select r.job from reeve.ready r where r.flags & 1 <> 0
                        union all select s.job from reeve.scheduled s where s.flags & 1 <> 0) live
                join reeve.job j on j.id = live.job and j.kind = 'pdf'
                where least((select min(c.created_at) from reeve.job c where c.parent = j.id),
                        (select l.claimed_at from reeve.lease l where l.job = j.id)) < clock_timestamp() - older
                order by exists (select from reeve.lease l where l.job = j.id), j.id -- see lock_parents()
        loop
                case reeve.end_idle_job(late, 'failed', 'deadline', actor, why)
                when 'ended' then
                        update reeve.done d set error_code = 'JOB_TIMEOUT' where d.job = late;
                        ended := ended || late;
                when 'running' then
                        if reeve.cancel_job(late, actor, why) in ('cancelled', 'cancelling') then
                                ended := ended || late;
                        end if;
                else null;
                end case;
        end loop;
        return ended;
end $$;

revoke all on function reeve_systems.pdf_add_children(uuid, integer[], text), reeve_systems.pdf_redo(uuid, uuid, integer[], text),
        reeve_systems.pdf_retry_chunks(uuid, integer[], boolean, text, uuid), reeve_systems.pdf_force_finalize(uuid, text),
        reeve_systems.pdf_reconcile(interval, text), reeve_systems.pdf_terminate_stuck(interval, text) from public;
grant execute on function reeve_systems.pdf_retry_chunks(uuid, integer[], boolean, text, uuid),
        reeve_systems.pdf_force_finalize(uuid, text), reeve_systems.pdf_reconcile(interval, text),
        reeve_systems.pdf_terminate_stuck(interval, text) to reeve_api;
