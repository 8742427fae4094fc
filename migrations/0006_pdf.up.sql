-- System 004, the asynchronous processing of PDFs, as its clients see it: each chunk is a child of the kind pdf-chunk, and
-- its state is that of the child; nothing is kept twice.

create schema reeve_systems;

-- The chunks of a document. One that was read several times shows the child that counts: the living one, else the last
-- that succeeded, else the last. Who ends chunks from outside says it in the reason, which begins with the code.
create function reeve_systems.pdf_chunks(parent uuid)
returns table (chunk integer, job uuid, first_page integer, last_page integer, status text, attempts integer,
        max_attempts integer, error_code text, error_message text, result jsonb, created_at timestamptz,
        started_at timestamptz, finished_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
        select distinct on (n.chunk)
                n.chunk, j.id, (j.payload ->> 'first')::integer, (j.payload ->> 'last')::integer,
                case
                when d.state = 'succeeded' then 'success'
                when d.state is not null then 'failed'
                when l.job is not null then 'processing'
                when s.attempt > 0 or r.attempt > 0 then 'retry_scheduled'
                else 'pending' end,
                coalesce(d.attempt, l.attempt + 1, s.attempt, r.attempt, b.attempt),
                j.max_attempts,
                case d.state
                when 'failed' then coalesce(d.error_code, upper(d.cause))
                when 'cancelled' then coalesce(substring(d.reason from
                        '^(?:parent: )?(FINALIZE_TIMEOUT|WATCHDOG_FORCED_FAIL|JOB_TIMEOUT)\M'), 'CANCELLED') end,
                case d.state when 'failed' then d.error_message when 'cancelled' then d.reason end,
                d.result, j.created_at, coalesce(d.claimed_at, l.claimed_at), d.finished_at
        from reeve.job j
        cross join lateral (select (j.payload ->> 'chunk')::integer) n (chunk)
        left join reeve.done d on d.job = j.id
        left join reeve.lease l on l.job = j.id
        left join reeve.scheduled s on s.job = j.id
        left join reeve.ready r on r.job = j.id
        left join reeve.blocked b on b.job = j.id
        where j.parent = pdf_chunks.parent and j.kind = 'pdf-chunk' and jsonb_typeof(j.payload -> 'chunk') = 'number'
        order by n.chunk, (d.job is null) desc, (d.state = 'succeeded') desc, j.child_no desc;
end;

-- Gives the document to a job of the kind pdf that was made without one and that nobody has claimed yet: one with run_at
-- in the future waits for it. queue: null leaves it where it is. Outcome: taken, not-found (or not of this tenant or
-- subject; null: any), has-document, not-pending.
create function reeve_systems.pdf_take_document(id uuid, tenant text, subject text, inputs jsonb, queue text, actor text)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        j record;
        live record;
        new_lane bigint;
begin
        select x.* into j from reeve.job x
        where x.id = pdf_take_document.id and x.kind = 'pdf' and x.tenant = coalesce(pdf_take_document.tenant, x.tenant)
                and (pdf_take_document.subject is null or x.subject = pdf_take_document.subject);
        if not found then
                return 'not-found';
        elsif j.inputs is not null then
                return 'has-document';
        end if;
        with s as (
                delete from reeve.scheduled x where x.job = id and x.attempt = 0 and x.interruptions = 0
                returning 'scheduled' as state, x.flags
        ), r as (
                delete from reeve.ready x where x.job = id and x.attempt = 0 and x.interruptions = 0 and x.flags & 1 = 0
                returning 'ready', x.flags
        )
        select * into live from (table s union all table r) as l;
        if not found then
                return case when exists (select from reeve.job x where x.id = pdf_take_document.id and x.inputs is not null)
                        then 'has-document' else 'not-pending' end;
        end if;
        queue := coalesce(queue, j.queue);
        new_lane := reeve.lane(queue, j.kind, j.tenant, j.priority);
        update reeve.job x set inputs = pdf_take_document.inputs, queue = pdf_take_document.queue where x.id = j.id;
        insert into reeve.blob_ref (job, direction, name, tenant, digest, size, content_type)
        select j.id, 'input', f.name, j.tenant, f.blob, f.size, f.content_type
        from jsonb_to_recordset(inputs) as f (name text, blob text, size bigint, content_type text);
        insert into reeve.ready (job, lane, flags) values (j.id, new_lane, live.flags);
        insert into reeve.history (job, event, from_state, to_state, actor, detail)
        values (j.id, 'document', live.state, 'ready', actor, jsonb_build_object('inputs', inputs));
        return 'taken';
end $$;

revoke all on all functions in schema reeve_systems from public;
grant usage on schema reeve_systems to reeve_api;
grant execute on all functions in schema reeve_systems to reeve_api;
