-- The queue: an immutable wide job row, one narrow live row that says where the job is, an append-only done row.
--
-- Every move of a job deletes one live row and inserts another in one transaction, and the deletion is the proof that
-- it happened once. A lane is (queue, kind, tenant, priority), kept as a hash, so that no row has to be made for it: an
-- application that enqueues in a long transaction of its own would hold a lane's row against everybody else.
--
-- flags of live rows: 1 it is to join (its children have ended), 2 it holds keys, 4 it has a parent.

create function reeve.lane(queue text, kind text, tenant text, priority smallint) returns bigint
language sql immutable parallel safe
return hashtextextended(queue || chr(31) || kind || chr(31) || tenant || chr(31) || priority::text, 0);

-- RFC 9562, 5.7: 48 bits of Unix milliseconds, version 7, variant 10, random bits.
create function reeve.uuidv7(at timestamptz default clock_timestamp()) returns uuid
language sql volatile parallel safe
return encode(
        set_bit(set_bit(
                overlay(uuid_send(gen_random_uuid())
                        placing substring(int8send(floor(extract(epoch from at) * 1000)::bigint) from 3) from 1 for 6),
                52, 1), 53, 1),
        'hex')::uuid;

-- The smallest id of an instant: bounds of partitions and of time filters.
create function reeve.uuid_floor(at timestamptz) returns uuid
language sql immutable parallel safe
return encode(substring(int8send(floor(extract(epoch from at) * 1000)::bigint) from 3) || '\x00000000000000000000'::bytea,
        'hex')::uuid;

-- What each kind is, as the workers and reeved publish it from .kind files.
create table reeve.kind (
        name text primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        description text,
        queue text not null check (queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        priority smallint not null default 5 check (priority between 1 and 10),
        max_attempts smallint not null default 3 check (max_attempts between 1 and 1000),
        max_interruptions smallint not null default 5 check (max_interruptions between 1 and 100),
        timeout_usec bigint not null check (timeout_usec > 0),
        stop_usec bigint not null check (stop_usec >= 0),
        keep_usec bigint check (keep_usec >= 0), -- null: as long as the partition
        release text not null default '',
        hash text not null,
        published_by text not null default session_user,
        published_at timestamptz not null default clock_timestamp()
);

-- Operators' word on a queue. No row: not paused.
create table reeve.queue (
        name text primary key,
        paused boolean not null default false,
        reason text,
        changed_by text not null,
        changed_at timestamptz not null default clock_timestamp()
);

create table reeve.job (
        id uuid not null default reeve.uuidv7(),
        created_at timestamptz not null default clock_timestamp(),
        kind text not null,
        queue text not null check (queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        priority smallint not null check (priority between 1 and 10),
        tenant text not null default 'default' check (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        subject text check (length(subject) <= 256),
        payload jsonb,
        payload_blob text,
        inputs jsonb, -- [{"name": ..., "blob": "sha256:...", "size": ...}]
        max_attempts smallint not null check (max_attempts between 1 and 1000),
        max_interruptions smallint not null check (max_interruptions between 1 and 100),
        timeout_usec bigint not null check (timeout_usec > 0),
        deadline timestamptz,
        unique_key text check (length(unique_key) <= 512),
        parent uuid,
        child_no integer,
        retry_of uuid,
        created_by text,
        primary key (id),
        check (payload is null or payload_blob is null)
) partition by range (id);

create index job_parent on reeve.job (parent) where parent is not null;
create index job_deadline on reeve.job (deadline) where deadline is not null;
-- Lists by one filter each; ids are by time, so new entries go to the right edge of their part.
create index job_tenant on reeve.job (tenant, id);
create index job_kind on reeve.job (kind, id);
create index job_queue on reeve.job (queue, id);

create table reeve.job_default partition of reeve.job default;

create sequence reeve.ready_seq;
create sequence reeve.run_seq;

-- Claimed from the left edge of each lane by keyset cursor; seq is new at every return, so that what comes back stands
-- behind and cursors need not start again for it.
create table reeve.ready (
        lane bigint not null,
        seq bigint not null default nextval('reeve.ready_seq'),
        job uuid not null,
        attempt smallint not null default 0,
        interruptions smallint not null default 0,
        flags smallint not null default 0,
        primary key (lane, seq)
);
create unique index ready_job on reeve.ready (job);

create table reeve.scheduled (
        job uuid primary key,
        run_at timestamptz not null,
        lane bigint not null,
        attempt smallint not null default 0,
        interruptions smallint not null default 0,
        flags smallint not null default 0
);
create index scheduled_run_at on reeve.scheduled (run_at);

create table reeve.blocked (
        job uuid primary key,
        token text not null, -- what it waits for: "children:" and its parent's id
        seq bigint not null default nextval('reeve.ready_seq'),
        lane bigint not null,
        attempt smallint not null default 0,
        interruptions smallint not null default 0,
        flags smallint not null default 0
);
create index blocked_token on reeve.blocked (token, seq);

create table reeve.waiting (
        job uuid primary key,
        pending integer not null check (pending > 0), -- children that have not ended
        children integer not null check (children >= pending), -- that were asked for this time
        progress_from smallint, -- the part of the parent's bar that the children are; null: none was named
        progress_to smallint,
        lane bigint not null,
        attempt smallint not null default 0,
        interruptions smallint not null default 0,
        flags smallint not null default 0,
        since timestamptz not null default clock_timestamp()
) with (fillfactor = 80);

-- A worker instance's life. One row each; heartbeats touch no indexed column, so they are HOT updates.
create table reeve.instance (
        id bigint generated always as identity primary key,
        host text not null,
        name text not null, -- POOL or POOL:N
        boot_id text not null,
        pid integer not null,
        version text not null,
        schema_version integer not null,
        kinds text[] not null,
        queues text[] not null,
        slots integer not null,
        busy integer not null default 0,
        state text not null default 'idle' check (state in ('idle', 'busy', 'draining', 'stopped')),
        jobs_done bigint not null default 0,
        started_at timestamptz not null default clock_timestamp(),
        beat bigint not null default 0,
        beat_at timestamptz not null default clock_timestamp(),
        first_run bigint not null default nextval('reeve.run_seq'), -- its leases have larger run ids
        stopped_at timestamptz,
        stop_cause text,
        reaped boolean not null default false -- stopped, and none of its runs is left
) with (fillfactor = 50);
create index instance_live on reeve.instance (host, name) where stopped_at is null;
create index instance_unreaped on reeve.instance (id) where not reaped and stopped_at is not null;

create table reeve.lease (
        run_id bigint primary key default nextval('reeve.run_seq'),
        run_key uuid not null default gen_random_uuid(),
        job uuid not null,
        instance bigint not null,
        lane bigint not null,
        attempt smallint not null,
        interruptions smallint not null,
        flags smallint not null,
        started boolean not null default false, -- it has been seen running: its interruption counts
        cancel_actor text, -- set: whoever ends the run other than by a result ends the job
        cancel_reason text,
        claimed_at timestamptz not null default clock_timestamp()
) with (fillfactor = 80);
create unique index lease_job on reeve.lease (job);

-- Which runs a worker is to stop, so that it need not search the leases: it reads its own with each heartbeat and at
-- each hint. The truth is lease.cancel_actor.
create table reeve.cancel_request (
        run_id bigint primary key,
        instance bigint not null,
        at timestamptz not null default clock_timestamp()
);
create index cancel_request_instance on reeve.cancel_request (instance);

create table reeve.done (
        job uuid not null,
        state text not null check (state in ('succeeded', 'failed', 'cancelled')),
        finished_at timestamptz not null default clock_timestamp(),
        expired_at timestamptz, -- its result and files went: KeepResult= of its kind
        claimed_at timestamptz, -- of the last run; null if it never ran
        run_id bigint,
        attempt smallint not null default 0,
        interruptions smallint not null default 0,
        cause text not null, -- exit, signal, oom-kill, timeout, watchdog, cancelled, drained, worker-died, host-lost, ...
        exit_status smallint,
        exit_signal smallint,
        error_code text,
        error_message text,
        result jsonb,
        result_blob text,
        host text,
        unit text,
        cpu_usec bigint,
        max_rss bigint,
        log text,
        actor text,
        reason text,
        primary key (job)
) partition by range (job);

create index done_state on reeve.done (state, job);

create table reeve.done_default partition of reeve.done default;

-- What is not told by the job, lease and done rows: retries, interruptions, cancellations, operators.
create table reeve.history (
        id bigint generated always as identity primary key,
        at timestamptz not null default clock_timestamp(),
        job uuid,
        object text, -- "queue/pdf", "flag/async": what an operator acted on, where it is not a job
        event text not null,
        from_state text,
        to_state text,
        run_id bigint,
        attempt smallint,
        interruptions smallint,
        cause text,
        exit_status smallint,
        exit_signal smallint,
        error_code text,
        error_message text,
        host text,
        unit text,
        log text,
        actor text not null,
        reason text,
        detail jsonb
);
create index history_job on reeve.history (job, id) where job is not null;
create index history_object on reeve.history (object, id) where object is not null;

-- Unique keys (until the job ends) and idempotency keys (until they expire).
create table reeve.key (
        tenant text not null,
        scope text not null check (scope in ('unique', 'idempotency')),
        name text not null,
        job uuid not null,
        request_hash text,
        expires_at timestamptz,
        primary key (tenant, scope, name)
);
create index key_job on reeve.key (job) where scope = 'unique';
create index key_expires on reeve.key (expires_at) where expires_at is not null;

-- Nothing here matters after a crash: a run reports again.
create unlogged table reeve.progress (
        job uuid primary key,
        run_id bigint not null,
        percent smallint check (percent between 0 and 100),
        status text,
        at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- Content-addressed files, by tenant. A blob without a reference is removed after a grace time.
create table reeve.blob (
        tenant text not null,
        digest text not null check (digest ~ '^sha256:[0-9a-f]{64}$'),
        size bigint not null check (size >= 0),
        created_at timestamptz not null default clock_timestamp(),
        primary key (tenant, digest)
);

create table reeve.blob_ref (
        job uuid not null,
        direction text not null check (direction in ('payload', 'input', 'output', 'result')),
        name text not null,
        tenant text not null,
        digest text not null,
        size bigint not null,
        content_type text,
        run_id bigint,
        primary key (job, direction, name)
);
create index blob_ref_digest on reeve.blob_ref (tenant, digest);

-- Who may use the HTTP API over TCP. What a key is is known to its holder alone; here is its SHA-256.
create table reeve.api_key (
        id bigint generated always as identity primary key,
        name text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
        role text not null check (role in ('admin', 'submit', 'read', 'worker', 'metrics')),
        tenant text check (tenant ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'), -- null: every tenant's
        subject text check (length(subject) <= 256),
        act_for_subjects boolean not null default false,
        created_at timestamptz not null default clock_timestamp(),
        created_by text not null,
        expires_at timestamptz,
        revoked_at timestamptz,
        revoked_by text
);
create unique index api_key_name on reeve.api_key (name) where revoked_at is null;

-- Makes the weekly partitions of job and done from last week to the given instant. Weeks begin on Monday, UTC. Callers
-- wait for each other on an advisory lock, for partitions are made by every worker that starts. Rows of a week that had
-- no partition yet stand in the default one: they move into the new one.
create function reeve.ensure_partitions(until timestamptz default now() + interval '28 days') returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        week timestamptz := date_trunc('week', now() - interval '7 days', 'UTC');
        part text;
        lo uuid;
        hi uuid;
        n_made integer := 0;
begin
        if until > now() + interval '400 days' then
                raise exception 'partitions are made for at most 400 days';
        end if;
        perform pg_advisory_xact_lock(7310593858020254331);
        while week <= until loop
                part := to_char(week at time zone 'UTC', 'YYYYMMDD');
                lo := reeve.uuid_floor(week);
                hi := reeve.uuid_floor(week + interval '7 days');
                week := week + interval '7 days';
                continue when to_regclass('reeve.job_' || part) is not null;
                if exists (select from reeve.job_default where id >= lo and id < hi)
                        or exists (select from reeve.done_default where job >= lo and job < hi) then
                        lock table reeve.job, reeve.done in access exclusive mode;
                        execute format('create table reeve.%I (like reeve.job including all)', 'job_' || part);
                        execute format('create table reeve.%I (like reeve.done including all)', 'done_' || part);
                        execute format('with moved as (delete from reeve.job_default where id >= $1 and id < $2 returning *) '
                                'insert into reeve.%I select * from moved', 'job_' || part) using lo, hi;
                        execute format('with moved as (delete from reeve.done_default where job >= $1 and job < $2 returning *) '
                                'insert into reeve.%I select * from moved', 'done_' || part) using lo, hi;
                        execute format('alter table reeve.job attach partition reeve.%I for values from (%L) to (%L)',
                                'job_' || part, lo, hi);
                        execute format('alter table reeve.done attach partition reeve.%I for values from (%L) to (%L)',
                                'done_' || part, lo, hi);
                else
                        execute format('create table reeve.%I partition of reeve.job for values from (%L) to (%L)',
                                'job_' || part, lo, hi);
                        execute format('create table reeve.%I partition of reeve.done for values from (%L) to (%L)',
                                'done_' || part, lo, hi);
                end if;
                n_made := n_made + 1;
        end loop;
        return n_made;
end $$;

-- Tells parents that children of theirs have ended (one array element for each child). Their waiting rows are locked in
-- the order of ids before anything is tested, so that of two transactions that end the last two children the second
-- sees what the first did, and none waits for the other in a circle. Each child that ended lets one go on that is
-- blocked until then (spawn_children(), at_once), unless it was blocked itself. The join goes on where the children's
-- part of the bar ends.
create function reeve.children_ended(parents uuid[], were_blocked boolean default false) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
        perform from reeve.waiting w where w.job = any (parents) order by w.job for update;

        if not were_blocked then
                with n as (
                        select p as job, count(*)::integer as ended from unnest(parents) p group by p
                ), next as materialized (
                        select b.job from n cross join lateral (
                                select x.job from reeve.blocked x where x.token = 'children:' || n.job
                                order by x.seq limit n.ended
                        ) b
                ), freed as (
                        delete from reeve.blocked b using next x where b.job between x.job and x.job
                        returning b.job, b.seq, b.lane, b.attempt, b.interruptions, b.flags
                )
                insert into reeve.ready (job, lane, attempt, interruptions, flags)
                select f.job, f.lane, f.attempt, f.interruptions, f.flags from freed f order by f.seq;
        end if;

        with n as (
                select p as job, count(*)::integer as ended from unnest(parents) p group by p
        ), joined as (
                delete from reeve.waiting w using n where w.job = n.job and w.pending <= n.ended returning w.*
        ), fewer as (
                update reeve.waiting w set pending = w.pending - n.ended from n
                where w.job = n.job and w.pending > n.ended
        ), shown as (
                insert into reeve.progress as p (job, run_id, percent)
                select j.job, 0, j.progress_to from joined j where j.progress_to is not null order by j.job
                on conflict (job) do update
                set run_id = excluded.run_id, percent = excluded.percent, status = null, at = clock_timestamp()
        )
        insert into reeve.ready (job, lane, attempt, interruptions, flags)
        select job, lane, 0, 0, flags | 1 from joined;
end $$;

-- Locks the waiting rows of the parents of these runs. Whoever ends or cancels jobs takes locks from above: the parent's
-- waiting row, the job's own, then leases; in the order of ids among equals. So two of them never wait in a circle.
create function reeve.lock_parents(runs bigint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
        perform from reeve.waiting w where w.job = any (array(
                select j.parent
                from unnest(runs) as r (run_id) cross join lateral (
                        select l.job from reeve.lease l
                        where l.run_id between r.run_id and r.run_id and l.flags & 4 <> 0 limit 1
                ) l cross join lateral (select j.parent from reeve.job j where j.id = l.job limit 1) j
        )) order by w.job for update;
end $$;

create type reeve.enqueue_input as (
        n integer, grp integer, id uuid, kind text, payload jsonb, payload_blob text, inputs jsonb, queue text,
        priority smallint, tenant text, subject text, run_at timestamptz, deadline timestamptz, max_attempts smallint,
        max_interruptions smallint, timeout_usec bigint, unique_key text, idempotency_key text, request_hash text,
        parent uuid, child_no integer, retry_of uuid, created_by text, error text
);

-- The one way into the queue. jobs is an array of objects with the fields of the recordset below; payload is kept as it
-- is. grp groups jobs that are taken all or none (a bulk request among the requests of others in the same statement).
-- One row for each job: outcome created, exists (a unique or idempotency key leads to job), mismatch (the idempotency
-- key was used for another request), refused (detail says why), skipped (another of its group was refused).
create function reeve.enqueue_batch(jobs jsonb)
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

-- Where a job is, by the row that says it. One index probe for each table; null if there is no such job.
create function reeve.job_state(id uuid) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
        select coalesce(
                (select d.state from reeve.done d where d.job = id),
                (select 'running' from reeve.lease l where l.job = id),
                (select 'ready' from reeve.ready r where r.job = id),
                (select 'scheduled' from reeve.scheduled s where s.job = id),
                (select 'waiting' from reeve.waiting w where w.job = id),
                (select 'blocked' from reeve.blocked b where b.job = id));
end;

-- Ends a job that is not running, and its children. Returns ended, running, finished (it had ended before) or
-- not-found. A move by somebody else between two looks makes it look again.
create function reeve.end_idle_job(id uuid, to_state text, cause text, actor text, reason text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        live record;
        child uuid;
begin
        perform from reeve.waiting w -- see lock_parents()
        where w.job = (select j.parent from reeve.job j where j.id = end_idle_job.id) for update;
        for tries in 1..100 loop
                with s as (
                        delete from reeve.scheduled x where x.job = id
                        returning 'scheduled' as state, x.attempt, x.interruptions, x.flags
                ), r as (
                        delete from reeve.ready x where x.job = id
                        returning 'ready', x.attempt, x.interruptions, x.flags
                ), b as (
                        delete from reeve.blocked x where x.job = id
                        returning 'blocked', x.attempt, x.interruptions, x.flags
                ), w as (
                        delete from reeve.waiting x where x.job = id
                        returning 'waiting', x.attempt, x.interruptions, x.flags
                )
                select * into live from (table s union all table r union all table b union all table w) as l;
                exit when found;
                if exists (select from reeve.lease l where l.job = id) then
                        return 'running';
                elsif exists (select from reeve.done d where d.job = id) then
                        return 'finished';
                elsif not exists (select from reeve.job j where j.id = end_idle_job.id) then
                        return 'not-found';
                end if;
        end loop;
        if live is null then
                raise exception 'job % moves too fast', id using errcode = '40001';
        end if;

        insert into reeve.done (job, state, attempt, interruptions, cause, error_code, error_message, actor, reason)
        values (id, to_state, live.attempt, live.interruptions, cause,
                case to_state when 'failed' then upper(cause) end, case to_state when 'failed' then reason end, actor,
                reason);
        insert into reeve.history (job, event, from_state, to_state, attempt, interruptions, cause, actor, reason)
        values (id, case to_state when 'failed' then 'fail' else 'cancel' end, live.state, to_state, live.attempt,
                live.interruptions, cause, actor, reason);
        delete from reeve.progress p where p.job = id;
        if live.flags & 2 <> 0 then
                delete from reeve.key k where k.job = id and k.scope = 'unique';
        end if;
        if live.state = 'waiting' then
                -- Those that wait for a worker in one go, for there may be thousands; then what is left, one by one.
                with kid as materialized (
                        select j.id from reeve.job j
                        where j.parent = end_idle_job.id and not exists (select from reeve.done d where d.job = j.id)
                ), s as (
                        delete from reeve.scheduled x using kid k where x.job = k.id
                        returning x.job, 'scheduled' as state, x.attempt, x.interruptions, x.flags
                ), r as (
                        delete from reeve.ready x using kid k where x.job = k.id
                        returning x.job, 'ready', x.attempt, x.interruptions, x.flags
                ), b as (
                        delete from reeve.blocked x using kid k where x.job = k.id
                        returning x.job, 'blocked', x.attempt, x.interruptions, x.flags
                ), gone as (
                        table s union all table r union all table b
                ), ended as (
                        insert into reeve.done (job, state, attempt, interruptions, cause, actor, reason)
                        select g.job, 'cancelled', g.attempt, g.interruptions, 'cancelled', actor,
                                coalesce('parent: ' || reason, 'its parent ended')
                        from gone g
                ), told as (
                        insert into reeve.history (job, event, from_state, to_state, attempt, interruptions, cause, actor,
                                reason)
                        select g.job, 'cancel', g.state, 'cancelled', g.attempt, g.interruptions, 'cancelled', actor,
                                coalesce('parent: ' || reason, 'its parent ended')
                        from gone g
                )
                delete from reeve.key k using gone g where k.job = g.job and k.scope = 'unique' and g.flags & 2 <> 0;
                for child in
                        select j.id from reeve.job j
                        where j.parent = end_idle_job.id and not exists (select from reeve.done d where d.job = j.id)
                        order by j.id
                loop
                        perform reeve.cancel_job(child, actor, coalesce('parent: ' || reason, 'its parent ended'));
                end loop;
        end if;
        if live.flags & 4 <> 0 then
                perform reeve.children_ended(array(select j.parent from reeve.job j where j.id = end_idle_job.id),
                        live.state = 'blocked');
        end if;
        return 'ended';
end $$;

-- Cancels a job, whatever its state, and its children. Returns cancelled, cancelling (it runs: its worker is told with
-- the next heartbeat or hint), finished (it had ended before) or not-found.
create function reeve.cancel_job(id uuid, actor text, reason text default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        outcome text;
begin
        for tries in 1..100 loop
                outcome := reeve.end_idle_job(id, 'cancelled', 'cancelled', actor, reason);
                if outcome <> 'running' then
                        return case outcome when 'ended' then 'cancelled' else outcome end;
                end if;
                -- On the lease row itself: a batch that ends the run at this moment waits and sees it, or is first.
                with told as (
                        update reeve.lease l
                        set cancel_actor = coalesce(l.cancel_actor, actor), cancel_reason = coalesce(l.cancel_reason, reason)
                        where l.job = id
                        returning l.run_id, l.instance
                )
                insert into reeve.cancel_request (run_id, instance) select t.run_id, t.instance from told t
                on conflict (run_id) do update set at = clock_timestamp();
                if found then
                        return 'cancelling';
                end if;
        end loop;
        raise exception 'job % moves too fast to be cancelled', id using errcode = '40001';
end $$;

-- Makes a new job of one that has ended; the old one stays. A tenant or a subject that is not null must be the job's.
-- Its deadline is left out, for it has most likely passed. Outcome: created, exists (another job holds its unique key),
-- live (it has not ended), not-found, refused (detail says why). Asked again with the id of the job it made: created.
create function reeve.retry_job(id uuid, tenant text, subject text, actor text, reason text default null,
        new_id uuid default reeve.uuidv7())
returns table (outcome text, job uuid, detail text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        old record;
        ended record;
begin
        select j.* into old from reeve.job j
        where j.id = retry_job.id and j.tenant = coalesce(retry_job.tenant, j.tenant)
                and (retry_job.subject is null or j.subject = retry_job.subject);
        if not found then
                return query select 'not-found', null::uuid, null::text;
                return;
        end if;
        if exists (select from reeve.job j where j.id = new_id and j.retry_of = retry_job.id) then
                return query select 'created', new_id, null::text;
                return;
        end if;
        select d.expired_at into ended from reeve.done d where d.job = retry_job.id;
        if not found then
                return query select 'live', null::uuid, null::text;
                return;
        end if;
        if ended.expired_at is not null and (old.inputs is not null or old.payload_blob is not null) then
                return query select 'refused', null::uuid, 'its input files were removed when its result expired (KeepResult=)';
                return;
        end if;
        select case e.outcome when 'created' then e.outcome when 'exists' then e.outcome else 'refused' end, e.job, e.detail
        into outcome, job, detail
        from reeve.enqueue_batch(jsonb_build_array(jsonb_build_object('id', new_id, 'kind', old.kind, 'payload', old.payload,
                'payload_blob', old.payload_blob, 'inputs', old.inputs, 'queue', old.queue, 'priority', old.priority,
                'tenant', old.tenant, 'subject', old.subject, 'max_attempts', old.max_attempts,
                'timeout_usec', old.timeout_usec, 'unique_key', old.unique_key, 'retry_of', old.id,
                'created_by', actor))) e;
        if outcome = 'created' then
                insert into reeve.history (job, event, actor, reason, detail)
                values (retry_job.id, 'retry', actor, reason, jsonb_build_object('job', new_id));
        end if;
        return next;
end $$;

-- Fails idle jobs whose deadline passed within the given time back. Returns how many.
create function reeve.expire_deadlines(back interval, most integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        at timestamptz := clock_timestamp(); -- a condition of the index, which a volatile function cannot be
        late uuid;
        n integer := 0;
begin
        for late in
                select j.id from reeve.job j
                where j.deadline <= at and j.deadline > at - back
                        and not exists (select from reeve.done d where d.job between j.id and j.id)
                        and not exists (select from reeve.lease l where l.job between j.id and j.id)
                order by j.deadline limit most
        loop
                if reeve.end_idle_job(late, 'failed', 'deadline', 'reeve', 'its deadline passed before it ran') = 'ended' then
                        n := n + 1;
                end if;
        end loop;
        return n;
end $$;

-- Ends a run that asked for children: the job waits for them. children is an array of objects with the fields of "known",
-- as enqueue_batch() takes them; but inputs is an array of names of the parent's own inputs, which its children share.
-- tenant and subject are the parent's. A job that asks again when it joins gets children with higher numbers.
-- at_once: so many of them may be under way at a time, the others are blocked (null: all). progress_from, progress_to:
-- the part of the parent's bar that the children are. Returns their number, or 0 if the run is stale. Raises 22023, and
-- changes nothing, if one of them is refused: the message says which and why.
create function reeve.spawn_children(run_id bigint, run_key uuid, children jsonb, actor text, at_once integer default null,
        progress_from smallint default null, progress_to smallint default null) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        known constant text[] := '{kind,payload,queue,priority,run_at,deadline,max_attempts,timeout_usec,unique_key,inputs}';
        run record;
        why text;
        first integer := 0;
        n integer;
begin
        perform reeve.lock_parents(array[run_id]);
        delete from reeve.lease l using reeve.job j
        where l.run_id = spawn_children.run_id and l.run_key = spawn_children.run_key and j.id = l.job
        returning l.*, j.tenant, j.subject, j.inputs into run;
        if not found then
                return 0;
        end if;

        select format('child %s: %s', c.ord - 1, bad.what) into why
        from jsonb_array_elements(children) with ordinality c (child, ord) cross join lateral (
                select 'expected an object' where jsonb_typeof(c.child) <> 'object'
                union all
                select format('unknown field "%s"', left(f, 64))
                from jsonb_object_keys(case jsonb_typeof(c.child) when 'object' then c.child else '{}' end) f
                where f <> all (known)
                union all
                select 'inputs: expected an array of names' where jsonb_typeof(c.child -> 'inputs') <> 'array'
                union all
                select format('the job has no input %s', left(i.item::text, 256))
                from jsonb_array_elements(case jsonb_typeof(c.child -> 'inputs') when 'array' then c.child -> 'inputs'
                        else '[]' end) i (item)
                where not coalesce(run.inputs, '[]') @> jsonb_build_array(jsonb_build_object('name', i.item))
        ) bad (what)
        order by c.ord limit 1;
        if why is not null then
                raise exception '%', why using errcode = '22023';
        end if;
        if run.flags & 1 <> 0 then
                select coalesce(max(j.child_no) + 1, 0) into first from reeve.job j where j.parent = run.job;
        end if;

        with asked as (
                select jsonb_agg(c.child || jsonb_build_object('parent', run.job, 'child_no', first + c.ord - 1, 'grp', 0,
                        'tenant', run.tenant, 'subject', run.subject, 'inputs', (
                                select jsonb_agg(i.item order by i.ord)
                                from jsonb_array_elements(run.inputs) with ordinality i (item, ord)
                                where c.child -> 'inputs' @> jsonb_build_array(i.item -> 'name'))) order by c.ord) as jobs
                from jsonb_array_elements(children) with ordinality as c (child, ord)
        ), made as materialized (
                select e.* from asked a, reeve.enqueue_batch(a.jobs) e
        )
        select count(*) filter (where m.outcome = 'created'),
                min(format('child %s: %s', m.n, coalesce(m.detail, m.outcome)))
                        filter (where m.outcome not in ('created', 'exists', 'skipped'))
        into n, why from made m;
        if why is not null then
                raise exception '%', why using errcode = '22023';
        end if;
        if n > at_once then
                with more as materialized (
                        select r.job from reeve.job j join reeve.ready r on r.job = j.id
                        where j.parent = run.job order by j.child_no offset at_once
                ), held as (
                        delete from reeve.ready r using more m where r.job between m.job and m.job
                        returning r.job, r.seq, r.lane, r.attempt, r.interruptions, r.flags
                )
                insert into reeve.blocked (job, token, lane, attempt, interruptions, flags)
                select h.job, 'children:' || run.job, h.lane, h.attempt, h.interruptions, h.flags from held h order by h.seq;
        end if;

        delete from reeve.cancel_request c where c.run_id = spawn_children.run_id;
        if n > 0 then
                insert into reeve.waiting (job, pending, children, progress_from, progress_to, lane, attempt, interruptions,
                        flags)
                values (run.job, n, n, progress_from, progress_to, run.lane, run.attempt, run.interruptions, run.flags);
        else -- every child was there already: nothing to wait for
                insert into reeve.ready (job, lane, attempt, interruptions, flags)
                values (run.job, run.lane, 0, run.interruptions, run.flags | 1);
        end if;
        insert into reeve.history (job, event, from_state, to_state, run_id, attempt, interruptions, cause, actor, detail)
        values (run.job, 'spawn', 'running', case when n > 0 then 'waiting' else 'ready' end, run.run_id,
                run.attempt + 1, run.interruptions, 'exit', actor, jsonb_build_object('children', n));
        if run.cancel_actor is not null then
                perform reeve.cancel_job(run.job, run.cancel_actor, run.cancel_reason);
        end if;
        return n;
end $$;

-- ---- the public functions -------------------------------------------------------------------------------------------

-- Enqueues a job in the caller's own transaction: it exists when that commits, and never if it rolls back. Options:
-- queue, priority (1..10), tenant, subject, run_at, delay (an interval), deadline, max_attempts, timeout (an interval),
-- unique_key. Returns the id; with a unique_key in use, the id of the job that holds it.
create function reeve.enqueue(kind text, payload jsonb default 'null', options jsonb default '{}') returns uuid
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

create function reeve.cancel(id uuid) returns text
language sql volatile security definer set search_path = pg_catalog, pg_temp
return reeve.cancel_job(id, 'sql:' || session_user);

-- A job as JSON: id, kind, queue, priority, tenant, subject, state, created_at, attempt, progress, result, error, ...
-- Null if there is no such job.
create function reeve.job_status(id uuid) returns jsonb
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
                        then jsonb_build_object('code', d.error_code, 'message', d.error_message) end))
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

-- ---- who may what ---------------------------------------------------------------------------------------------------

revoke all on all functions in schema reeve from public;
grant usage on schema reeve to reeve_api, reeve_worker, reeve_submit;

grant execute on function reeve.enqueue(text, jsonb, jsonb), reeve.cancel(uuid), reeve.job_status(uuid)
        to reeve_submit, reeve_api, reeve_worker;
grant execute on function reeve.retry_job(uuid, text, text, text, text, uuid) to reeve_api;
grant execute on function reeve.enqueue_batch(jsonb), reeve.cancel_job(uuid, text, text), reeve.job_state(uuid),
        reeve.uuidv7(timestamptz), reeve.uuid_floor(timestamptz), reeve.lane(text, text, text, smallint),
        reeve.children_ended(uuid[], boolean), reeve.lock_parents(bigint[]), reeve.ensure_partitions(timestamptz),
        reeve.expire_deadlines(interval, integer), reeve.spawn_children(bigint, uuid, jsonb, text, integer, smallint, smallint)
        to reeve_api, reeve_worker;

grant select on all tables in schema reeve to reeve_api, reeve_worker;
revoke select on reeve.api_key from reeve_worker;
grant insert, update (revoked_at, revoked_by) on reeve.api_key to reeve_api;
grant insert, delete on reeve.ready, reeve.scheduled, reeve.waiting, reeve.lease, reeve.cancel_request to reeve_worker;
grant update on reeve.ready, reeve.scheduled to reeve_worker; -- row locks (for update) need it
grant update (started) on reeve.lease to reeve_worker;
grant insert on reeve.done, reeve.history, reeve.blob, reeve.blob_ref to reeve_worker, reeve_api;
grant update (digest, size, run_id) on reeve.blob_ref to reeve_worker;
grant insert, update on reeve.kind to reeve_worker;
grant insert, update on reeve.instance to reeve_worker;
grant insert, update, delete on reeve.progress to reeve_worker;
grant delete on reeve.key to reeve_worker;
grant usage on sequence reeve.ready_seq, reeve.run_seq to reeve_worker;

select reeve.ensure_partitions();
