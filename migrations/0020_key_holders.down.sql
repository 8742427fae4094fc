-- As in 0012_limits.
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
        held integer[] := '{}';
        held_tokens text[] := '{}';
begin
        select array_agg(row (i.ord - 1, coalesce(i.grp, (i.ord - 1)::integer), coalesce(i.id, reeve.uuidv7()), i.kind,
                        case when i.payload_blob is null then coalesce(i.payload, 'null'::jsonb) end, i.payload_blob,
                        i.inputs, coalesce(i.queue, k.queue), coalesce(i.priority, k.priority),
                        coalesce(i.tenant, 'default'), i.subject, i.run_at,
                        coalesce(i.deadline, greatest(i.run_at, started) + k.deadline_usec * interval '1 microsecond'),
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
                        when length(i.concurrency_key) > 256 then 'concurrency_key is longer than 256 characters'
                        when i.unique_usec < 0 then 'unique_for must not be negative'
                        end,
                        i.concurrency_key,
                        reeve.job_tokens(k, case when i.payload_blob is null then i.payload end, coalesce(i.tenant, 'default'),
                                i.subject, i.concurrency_key),
                        coalesce(i.unique_usec, k.unique_usec),
                        case when coalesce(i.unique_usec, k.unique_usec) > 0 and i.parent is null and i.retry_of is null
                        then k.name || ':' || encode(sha256(convert_to(coalesce(i.payload_blob, i.payload::text, 'null') || chr(31)
                                || coalesce(i.inputs::text, '') || chr(31) || coalesce(i.subject, ''), 'UTF8')), 'hex') end
                        )::reeve.enqueue_input order by i.ord)
        into input
        from rows from (jsonb_to_recordset(jobs) as (grp integer, id uuid, kind text, payload jsonb, payload_blob text,
                inputs jsonb, queue text, priority smallint, tenant text, subject text, run_at timestamptz,
                deadline timestamptz, max_attempts smallint, timeout_usec bigint, unique_key text,
                idempotency_key text, request_hash text, parent uuid, child_no integer, retry_of uuid,
                created_by text, concurrency_key text, unique_usec bigint)) with ordinality as i (grp, id, kind, payload, payload_blob, inputs, queue, priority,
                tenant, subject, run_at, deadline, max_attempts, timeout_usec, unique_key, idempotency_key,
                request_hash, parent, child_no, retry_of, created_by, concurrency_key, unique_usec, ord)
        left join reeve.kind k on k.name = i.kind;

        select coalesce(array_agg(distinct i.grp), '{}') into bad from unnest(input) i where i.error is not null;

        -- Keys in a fixed order, so that two batches cannot wait for each other in a circle. A conflict waits for the
        -- other transaction, and the next statement sees its row, unless its job ended in between: then once more.
        select coalesce(array_agg(i.n), '{}') into pending from unnest(input) i
        where coalesce(i.unique_key, i.idempotency_key, i.digest) is not null and i.grp <> all (bad);
        while cardinality(pending) > 0 loop
                delete from reeve.key k using unnest(input) i
                where i.n = any (pending) and k.tenant = i.tenant and k.scope = 'idempotency'
                        and k.name = i.idempotency_key and k.expires_at <= started;
                delete from reeve.key k using unnest(input) i
                where i.n = any (pending) and i.digest is not null and k.tenant = i.tenant and k.scope = 'payload'
                        and k.name = i.digest and (k.expires_at <= started
                                or exists (select from reeve.done d where d.job = k.job and d.state <> 'succeeded')
                                or not exists (select from reeve.job j where j.id = k.job)
                                        and not exists (select from unnest(input) o where o.id = k.job));

                with wanted as (
                        select i.n, i.tenant, 'unique' as scope, i.kind || ':' || i.unique_key as name, i.id,
                                null as request_hash, null::timestamptz as expires_at
                        from unnest(input) i where i.unique_key is not null and i.n = any (pending)
                        union all
                        select i.n, i.tenant, 'idempotency', i.idempotency_key, i.id, i.request_hash,
                                started + interval '24 hours'
                        from unnest(input) i where i.idempotency_key is not null and i.n = any (pending)
                        union all
                        select i.n, i.tenant, 'payload', i.digest, i.id, null,
                                started + i.unique_usec * interval '1 microsecond'
                        from unnest(input) i where i.digest is not null and i.n = any (pending)
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
                                or (k.scope = 'idempotency' and k.name = i.idempotency_key)
                                or (k.scope = 'payload' and k.name = i.digest));

                select coalesce(array_agg(i.n), '{}') into pending from unnest(input) i
                where i.n = any (lost) and not exists (
                        select from reeve.key k where k.tenant = i.tenant
                                and ((k.scope = 'unique' and k.name = i.kind || ':' || i.unique_key)
                                        or (k.scope = 'idempotency' and k.name = i.idempotency_key)
                                        or (k.scope = 'payload' and k.name = i.digest)));
                losers := losers || lost;
                losers := array(select l from unnest(losers) l where l <> all (pending));
        end loop;

        -- Those whose key has no run free for them, or for whom others stand in line. A look without locks, for the caller's
        -- transaction may be long: the claim is what keeps the limit, and unblock_next() sees what was passed by.
        if exists (select from unnest(input) i where cardinality(i.tokens) > 0) then
                with wanted as materialized (
                        select i.n, i.tokens, i.priority, l.lane,
                                row_number() over (partition by i.tokens, l.lane order by i.n) as rank
                        from unnest(input) i cross join lateral (
                                select reeve.lane(i.queue, i.kind, i.tenant, i.priority) as lane offset 0
                        ) l
                        where cardinality(i.tokens) > 0 and i.grp <> all (bad) and i.n <> all (losers)
                                and (i.run_at is null or i.run_at <= started)
                ), line as materialized (
                        select distinct w.tokens, w.lane, w.priority from wanted w
                ), room as materialized (
                        select l.tokens, l.lane, t.token, t.room
                        from line l cross join lateral (
                                select u.token, case when exists (
                                                select from reeve.blocked b where b.token = u.token and b.priority >= l.priority) then 0
                                        else reeve.token_room(u.token) - (select count(*) from (
                                                        select from reeve.ready x where x.token = u.token and x.lane = l.lane limit 1000) x)
                                        end as room
                                from unnest(l.tokens) with ordinality u (token, ord)
                                order by 2, u.ord limit 1
                        ) t
                )
                select coalesce(array_agg(w.n order by w.n), '{}'), coalesce(array_agg(r.token order by w.n), '{}')
                into held, held_tokens
                from wanted w join room r on r.tokens = w.tokens and r.lane = w.lane where w.rank > r.room;
        end if;

        with good as (
                select i.*, reeve.lane(i.queue, i.kind, i.tenant, i.priority) as lane,
                        ((case when i.unique_key is not null then 2 else 0 end)
                                | (case when i.parent is not null then 4 else 0 end))::smallint as flags
                from unnest(input) i where i.grp <> all (bad) and i.n <> all (losers)
        ), jobs as (
                insert into reeve.job (id, kind, queue, priority, tenant, subject, payload, payload_blob, inputs,
                        max_attempts, max_interruptions, timeout_usec, deadline, unique_key, parent, child_no, retry_of,
                        created_by, concurrency_key)
                select g.id, g.kind, g.queue, g.priority, g.tenant, g.subject, g.payload, g.payload_blob, g.inputs,
                        g.max_attempts, g.max_interruptions, g.timeout_usec, g.deadline, g.unique_key, g.parent,
                        g.child_no, g.retry_of, g.created_by, g.concurrency_key
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
        ), kept as (
                insert into reeve.blocked (job, token, lane, flags, priority)
                select g.id, h.token, g.lane, g.flags, g.priority
                from unnest(held, held_tokens) h (n, token) join good g on g.n = h.n order by g.n
        )
        insert into reeve.ready (job, lane, flags, token)
        select g.id, g.lane, g.flags, g.tokens[1] from good g
        where (g.run_at is null or g.run_at <= started) and g.n <> all (held) order by g.n;
        if cardinality(held) > 0 then -- not before the job
                insert into reeve.history (job, event, to_state, actor, reason)
                select i.id, 'block', 'blocked', 'reeve', reeve.token_to_text(h.token)
                from unnest(held, held_tokens) h (n, token) join unnest(input) i on i.n = h.n order by h.n;
        end if;

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
                        case when i.run_at > started then 'scheduled' when i.n = any (held) then 'blocked' else 'ready' end end,
                i.error
        from unnest(input) i
        left join lateral (
                select k.job, k.request_hash, k.scope from reeve.key k
                where i.n = any (losers) and k.tenant = i.tenant
                        and ((k.scope = 'idempotency' and k.name = i.idempotency_key)
                                or (k.scope = 'payload' and k.name = i.digest)
                                or (k.scope = 'unique' and k.name = i.kind || ':' || i.unique_key))
                order by k.scope limit 1
        ) k on true
        order by i.n;
end $$;
