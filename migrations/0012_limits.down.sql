-- Takes back what 0012_limits made. What a limit held back is ready, for who comes back to this schema.
with gone as (
        delete from reeve.blocked b where b.priority is not null returning b.*
)
insert into reeve.ready (job, lane, attempt, interruptions, flags)
select g.job, g.lane, g.attempt, g.interruptions, g.flags from gone g order by g.seq;

create or replace function reeve.job_statuses(ids uuid[]) returns table (job uuid, body jsonb)
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
create or replace function reeve.enqueue(kind text, payload jsonb default 'null', options jsonb default '{}') returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        known constant text[] := '{queue,priority,tenant,subject,run_at,delay,deadline,max_attempts,timeout,unique_key}';
        unknown text;
        option text;
        entry jsonb;
        r record;
begin
        if jsonb_typeof(coalesce(options, '{}')) <> 'object' then
                raise exception 'options must be a JSON object' using errcode = '22023';
        end if;
        select string_agg(quote_ident(o), ', ') into unknown from jsonb_object_keys(options) o where o <> all (known);
        if unknown is not null then
                raise exception 'unknown option: %', unknown using errcode = '22023',
                        hint = 'Known options: ' || array_to_string(known, ', ');
        end if;
        if octet_length(payload::text) > 65536 then
                raise exception 'payload of % bytes is larger than 64 KiB', octet_length(payload::text)
                        using errcode = '22023', hint = 'Send large payloads through the HTTP API.';
        end if;

        entry := (coalesce(options, '{}') - '{delay,timeout}'::text[]) || jsonb_build_object('kind', kind, 'payload', payload);
        if options ?& '{delay,run_at}'::text[] then
                raise exception 'option "delay" and option "run_at" exclude each other' using errcode = '22023';
        end if;
        if options ?| '{priority,run_at,delay,deadline,max_attempts,timeout}'::text[] then
                begin -- without writes a block costs no transaction id
                        option := 'priority';
                        perform (options ->> option)::smallint;
                        option := 'max_attempts';
                        perform (options ->> option)::smallint;
                        option := 'run_at';
                        perform (options ->> option)::timestamptz;
                        option := 'deadline';
                        perform (options ->> option)::timestamptz;
                        option := 'delay';
                        if options ? option then
                                entry := entry || jsonb_build_object('run_at',
                                        clock_timestamp() + (options ->> option)::interval);
                        end if;
                        option := 'timeout';
                        if options ? option then
                                entry := entry || jsonb_build_object('timeout_usec',
                                        floor(extract(epoch from (options ->> option)::interval) * 1000000)::bigint);
                        end if;
                exception when data_exception then
                        raise exception 'option "%": %', option, sqlerrm using errcode = '22023', hint = 'See reeve-sql(7).';
                end;
        end if;

        select * into strict r from reeve.enqueue_batch(jsonb_build_array(entry));
        if r.outcome = 'refused' then
                raise exception '%', r.detail using errcode = '22023', hint = case when r.detail like 'unknown kind%'
                        then 'Workers publish kinds when they start; reevectl kinds lists them.'
                        else 'See reeve-sql(7).' end;
        end if;
        return r.job;
end $$;
create or replace function reeve.enqueue_batch(jobs jsonb)
returns table (n integer, job uuid, outcome text, state text, detail text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
        started timestamptz := clock_timestamp();
        input reeve.enqueue_input[];
        bad integer[];
        pending integer[];
        lost integer[];
        losers integer[] := '{}';
begin
        select array_agg(row (i.ord - 1, coalesce(i.grp, (i.ord - 1)::integer), coalesce(i.id, reeve.uuidv7()), i.kind,
                        case when i.payload_blob is null then coalesce(i.payload, 'null'::jsonb) end, i.payload_blob,
                        i.inputs, coalesce(i.queue, k.queue), coalesce(i.priority, k.priority),
                        coalesce(i.tenant, 'default'), i.subject, i.run_at, i.deadline,
                        coalesce(i.max_attempts, k.max_attempts), k.max_interruptions,
                        coalesce(i.timeout_usec, k.timeout_usec), i.unique_key, i.idempotency_key, i.request_hash,
                        i.parent, i.child_no, i.retry_of, coalesce(i.created_by, session_user),
                        case
                        when i.kind is null then 'kind is missing'
                        when k.name is null then format('unknown kind "%s"', left(i.kind, 64))
                        when coalesce(i.priority, 5) not between 1 and 10 then 'priority must be between 1 and 10'
                        when i.queue !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' then 'queue is not a name'
                        when i.tenant !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' then 'tenant is not a name'
                        when length(i.subject) > 256 then 'subject is longer than 256 characters'
                        when length(i.unique_key) > 512 then 'unique_key is longer than 512 characters'
                        when length(i.idempotency_key) > 512 then 'idempotency_key is longer than 512 characters'
                        when coalesce(i.max_attempts, 1) not between 1 and 1000
                                then 'max_attempts must be between 1 and 1000'
                        when coalesce(i.timeout_usec, 1) <= 0 then 'timeout must be longer than nothing'
                        when i.deadline <= started then 'deadline is in the past'
                        when i.deadline <= i.run_at then 'deadline is before run_at'
                        end)::reeve.enqueue_input order by i.ord)
        into input
        from rows from (jsonb_to_recordset(jobs) as (grp integer, id uuid, kind text, payload jsonb, payload_blob text,
                inputs jsonb, queue text, priority smallint, tenant text, subject text, run_at timestamptz,
                deadline timestamptz, max_attempts smallint, timeout_usec bigint, unique_key text,
                idempotency_key text, request_hash text, parent uuid, child_no integer, retry_of uuid,
                created_by text)) with ordinality as i (grp, id, kind, payload, payload_blob, inputs, queue, priority,
                tenant, subject, run_at, deadline, max_attempts, timeout_usec, unique_key, idempotency_key,
                request_hash, parent, child_no, retry_of, created_by, ord)
        left join reeve.kind k on k.name = i.kind;

        select coalesce(array_agg(distinct i.grp), '{}') into bad from unnest(input) i where i.error is not null;

        -- Keys in a fixed order, so that two batches cannot wait for each other in a circle. A conflict waits for the
        -- other transaction, and the next statement sees its row, unless its job ended in between: then once more.
        select coalesce(array_agg(i.n), '{}') into pending from unnest(input) i
        where coalesce(i.unique_key, i.idempotency_key) is not null and i.grp <> all (bad);
        while cardinality(pending) > 0 loop
                delete from reeve.key k using unnest(input) i
                where i.n = any (pending) and k.tenant = i.tenant and k.scope = 'idempotency'
                        and k.name = i.idempotency_key and k.expires_at <= started;

                with wanted as (
                        select i.n, i.tenant, 'unique' as scope, i.kind || ':' || i.unique_key as name, i.id,
                                null as request_hash, null::timestamptz as expires_at
                        from unnest(input) i where i.unique_key is not null and i.n = any (pending)
                        union all
                        select i.n, i.tenant, 'idempotency', i.idempotency_key, i.id, i.request_hash,
                                started + interval '24 hours'
                        from unnest(input) i where i.idempotency_key is not null and i.n = any (pending)
                ), won as (
                        insert into reeve.key (tenant, scope, name, job, request_hash, expires_at)
                        select w.tenant, w.scope, w.name, w.id, w.request_hash, w.expires_at
                        from wanted w order by w.tenant, w.scope, w.name, w.n
                        on conflict do nothing
                        returning job, scope
                )
                select coalesce(array_agg(distinct w.n), '{}') into lost
                from wanted w where not exists (select from won where won.job = w.id and won.scope = w.scope);

                -- One that lost by one key must not keep the other.
                delete from reeve.key k using unnest(input) i
                where i.n = any (lost) and k.job = i.id and k.tenant = i.tenant
                        and ((k.scope = 'unique' and k.name = i.kind || ':' || i.unique_key)
                                or (k.scope = 'idempotency' and k.name = i.idempotency_key));

                select coalesce(array_agg(i.n), '{}') into pending from unnest(input) i
                where i.n = any (lost) and not exists (
                        select from reeve.key k where k.tenant = i.tenant
                                and ((k.scope = 'unique' and k.name = i.kind || ':' || i.unique_key)
                                        or (k.scope = 'idempotency' and k.name = i.idempotency_key)));
                losers := losers || lost;
                losers := array(select l from unnest(losers) l where l <> all (pending));
        end loop;

        with good as (
                select i.*, reeve.lane(i.queue, i.kind, i.tenant, i.priority) as lane,
                        ((case when i.unique_key is not null then 2 else 0 end)
                                | (case when i.parent is not null then 4 else 0 end))::smallint as flags
                from unnest(input) i where i.grp <> all (bad) and i.n <> all (losers)
        ), jobs as (
                insert into reeve.job (id, kind, queue, priority, tenant, subject, payload, payload_blob, inputs,
                        max_attempts, max_interruptions, timeout_usec, deadline, unique_key, parent, child_no, retry_of,
                        created_by)
                select g.id, g.kind, g.queue, g.priority, g.tenant, g.subject, g.payload, g.payload_blob, g.inputs,
                        g.max_attempts, g.max_interruptions, g.timeout_usec, g.deadline, g.unique_key, g.parent,
                        g.child_no, g.retry_of, g.created_by
                from good g
        ), refs as (
                insert into reeve.blob_ref (job, direction, name, tenant, digest, size, content_type)
                select g.id, 'input', f.name, g.tenant, f.blob, f.size, f.content_type
                from good g, jsonb_to_recordset(g.inputs) as f (name text, blob text, size bigint, content_type text)
                where g.inputs is not null
                union all
                select g.id, 'payload', '', g.tenant, g.payload_blob, b.size, 'application/json'
                from good g join reeve.blob b on b.tenant = g.tenant and b.digest = g.payload_blob
        ), later as (
                insert into reeve.scheduled (job, run_at, lane, flags)
                select g.id, g.run_at, g.lane, g.flags from good g where g.run_at > started
        )
        insert into reeve.ready (job, lane, flags)
        select g.id, g.lane, g.flags from good g where g.run_at is null or g.run_at <= started order by g.n;

        return query
        select i.n,
                case when i.n = any (losers) then k.job when i.grp <> all (bad) then i.id end,
                case
                when i.error is not null then 'refused'
                when i.grp = any (bad) then 'skipped'
                when i.n <> all (losers) then 'created'
                when k.request_hash is distinct from i.request_hash and k.scope = 'idempotency' then 'mismatch'
                else 'exists' end,
                case when i.grp <> all (bad) and i.n <> all (losers) then
                        case when i.run_at > started then 'scheduled' else 'ready' end end,
                i.error
        from unnest(input) i
        left join lateral (
                select k.job, k.request_hash, k.scope from reeve.key k
                where i.n = any (losers) and k.tenant = i.tenant
                        and ((k.scope = 'idempotency' and k.name = i.idempotency_key)
                                or (k.scope = 'unique' and k.name = i.kind || ':' || i.unique_key))
                order by k.scope limit 1
        ) k on true
        order by i.n;
end $$;

alter type reeve.enqueue_input drop attribute concurrency_key, drop attribute tokens, drop attribute unique_usec,
        drop attribute digest;
drop function reeve.claim_limited(bigint[], bigint[], smallint[], integer, bigint, bigint, text), reeve.unblock_next(text, integer),
        reeve.unblock(text[]), reeve.unblock_lanes(text, smallint, integer, boolean), reeve.blocked_by(text),
        reeve.token_room(text), reeve.job_tokens(reeve.kind, jsonb, text, text, text), reeve.token_limit(text), reeve.token_to_text(text), reeve.limit_token(text, text, text[], jsonb, text, text, text);
delete from reeve.key k where k.scope = 'payload';
alter table reeve.key drop constraint key_scope_check;
alter table reeve.key add constraint key_scope_check check (scope in ('unique', 'idempotency'));
drop index reeve.blocked_line;
alter table reeve.blocked drop column priority;
drop index reeve.lease_token;
alter table reeve.lease drop column token;
drop index reeve.ready_token;
alter table reeve.ready drop column place, drop column token;
alter table reeve.job drop column concurrency_key;
alter table reeve.kind drop column unique_usec, drop column deadline_usec, drop column concurrency_key, drop column concurrency;
