-- What holds jobs back for the whole fleet: Concurrency=, by a key if the kind has one. And what a kind says of the deadline of its
-- jobs (DeadlineSec=) and of jobs that are the same (UniqueFor=).
--
-- A kind with Concurrency= has for each value of its key a token, a text. The runs that hold it are the leases that have it: they
-- are counted where it matters, in the claim (claim_limited()), by one at a time for each token, so the limit holds whatever
-- happens to whom. The other moves only guess well: a job of a token that is used up is blocked when it is handed over or when
-- a claim meets it, and then nobody meets it any more; with the end of a run as many are ready again as may run. One too many is
-- blocked again by the claim; one too few is found by unblock_next(), which workers call every second and which sees changed
-- limits as well.

alter table reeve.kind add column concurrency integer check (concurrency > 0); -- null: no limit
alter table reeve.kind add column concurrency_key text[]; -- tenant, subject, JSON pointers; null: all jobs of the kind together
alter table reeve.kind add column deadline_usec bigint check (deadline_usec > 0); -- null: none
alter table reeve.kind add column unique_usec bigint check (unique_usec > 0); -- null: no two jobs are the same

alter table reeve.job add column concurrency_key text; -- what its maker says, instead of what the kind would look for

-- Null: a job of a kind without a limit, or nobody has looked yet.
alter table reeve.ready add column token text;
alter table reeve.ready add column place bigint; -- in the line that it came from, should it have to go back
create index ready_token on reeve.ready (token, lane) where token is not null;
alter table reeve.lease add column token text;
create index lease_token on reeve.lease (token) where token is not null;

-- The line before each token: higher priorities first, lanes of one priority in turn, first come first in a lane.
alter table reeve.blocked add column priority smallint; -- null: not in such a line
create index blocked_line on reeve.blocked (token, priority, lane, seq) where priority is not null;

alter table reeve.key drop constraint key_scope_check;
alter table reeve.key add constraint key_scope_check check (scope in ('unique', 'idempotency', 'payload'));

-- The token of a job, such as "limit:resize:/user=7". RFC 6901, 4: "~1" is "/", "~0" is "~". What is missing is as if it were empty.
create function reeve.limit_token(sort text, kind text, words text[], payload jsonb, tenant text, subject text, given text) returns text
language sql immutable parallel safe
return sort || ':' || kind || ':' || coalesce(array_to_string(words, ' '), '') || '=' || (
        select case when length(v.value) <= 200 then v.value
                else left(v.value, 100) || '#' || encode(sha256(convert_to(v.value, 'UTF8')), 'hex') end
        from (
                select case when words is null then '' when given is not null then given else (
                        select string_agg(case w.word when 'tenant' then tenant when 'subject' then coalesce(subject, '')
                                else coalesce(payload #>> array(
                                        select replace(replace(s.step, '~1', '/'), '~0', '~')
                                        from unnest(string_to_array(substr(w.word, 2), '/')) with ordinality s (step, ord)
                                        order by s.ord), '') end, chr(31) order by w.ord)
                        from unnest(words) with ordinality w (word, ord)) end as value
        ) v);

-- What a token stands for, for people: "resize", or "resize /user=7".
create function reeve.token_to_text(token text) returns text
language sql immutable parallel safe
return case when token like 'children:%' then 'the other children of its parent' else rtrim(split_part(token, ':', 2) || ' '
        || translate(substr(token, length(split_part(token, ':', 1) || split_part(token, ':', 2)) + 3), chr(31), ','), ' =') end;

-- How many runs of its token a kind allows; null if it has no limit, or if this is not the kind's key any more.
create function reeve.token_limit(token text) returns integer
language sql stable
return (
        select k.concurrency from reeve.kind k
        where k.name = split_part(token, ':', 2) and starts_with(token,
                'limit:' || k.name || ':' || coalesce(array_to_string(k.concurrency_key, ' '), '') || '='));

-- The tokens that a run of a kind's job needs, that of Concurrency= first.
create function reeve.job_tokens(k reeve.kind, payload jsonb, tenant text, subject text, given text) returns text[]
language sql immutable parallel safe
return case when k.concurrency is null then '{}'::text[]
        else array[reeve.limit_token('limit', k.name, k.concurrency_key, payload, tenant, subject, given)] end;

-- How many runs of a token may begin now; null if it is no limit any more. Each query in it sees what is committed by then.
create function reeve.token_room(token text) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
        most integer := reeve.token_limit(token);
begin
        return most - (select count(*) from (select from reeve.lease l where l.token = token_room.token limit most) l);
end $$;

-- Why a job is blocked.
create function reeve.blocked_by(token text) returns jsonb
language sql stable
return case when token like 'limit:%' then jsonb_strip_nulls(jsonb_build_object('limit', 'concurrency',
                'key', reeve.token_to_text(token), 'most', reeve.token_limit(token), 'running', (
                        select count(*) from (select from reeve.lease l where l.token = blocked_by.token limit 10000) l)))
        when token like 'children:%' then jsonb_build_object('limit', 'children', 'key', reeve.token_to_text(token)) end;

-- Lets at most so many jobs of one priority go on that stand in the line before a token: lanes in turn, beginning at one by chance,
-- so that nobody has to remember whose turn it was; of at most 64 lanes at a time. Not those of paused queues. With keep they have
-- the token still, or else whoever meets them looks again. Returns how many.
create function reeve.unblock_lanes(token text, priority smallint, most integer, keep boolean) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        start bigint := (random() * 1.8446744073709e19 - 9.2233720368545e18)::bigint;
        n integer;
begin
        with recursive upper as (
                (select b.lane, b.job, 1 as i from reeve.blocked b
                where b.token = unblock_lanes.token and b.priority = unblock_lanes.priority and b.lane >= start
                order by b.lane, b.seq limit 1)
                union all
                select f.lane, f.job, l.i + 1 from upper l cross join lateral (
                        select b.lane, b.job from reeve.blocked b
                        where b.token = unblock_lanes.token and b.priority = unblock_lanes.priority and b.lane > l.lane
                        order by b.lane, b.seq limit 1) f
                where l.i < 32
        ), lower as (
                (select b.lane, b.job, 1 as i from reeve.blocked b
                where b.token = unblock_lanes.token and b.priority = unblock_lanes.priority and b.lane < start
                order by b.lane, b.seq limit 1)
                union all
                select f.lane, f.job, l.i + 1 from lower l cross join lateral (
                        select b.lane, b.job from reeve.blocked b
                        where b.token = unblock_lanes.token and b.priority = unblock_lanes.priority and b.lane > l.lane
                                and b.lane < start
                        order by b.lane, b.seq limit 1) f
                where l.i < 32
        ), line as materialized (
                select l.lane, random() as turn from (table upper union all table lower) l
                cross join lateral (select j.queue from reeve.job j where j.id = l.job limit 1) j
                where not exists (select from reeve.queue q where q.name = j.queue and q.paused)
        ), candidate as materialized (
                select b.at, b.seq, l.turn, row_number() over (partition by l.lane order by b.seq) as round
                from line l cross join lateral (
                        select b.ctid as at, b.seq from reeve.blocked b
                        where b.token = unblock_lanes.token and b.priority = unblock_lanes.priority and b.lane = l.lane
                        order by b.seq limit most for update skip locked) b
        ), picked as materialized (
                select c.at from candidate c order by c.round, c.turn limit most
        ), gone as (
                delete from reeve.blocked b using picked p where b.ctid = p.at
                returning b.job, b.seq, b.lane, b.attempt, b.interruptions, b.flags
        )
        insert into reeve.ready (job, lane, attempt, interruptions, flags, token, place)
        select g.job, g.lane, g.attempt, g.interruptions, g.flags, case when keep then unblock_lanes.token end,
                case when keep then g.seq end
        from gone g order by g.seq;
        get diagnostics n = row_count;
        return n;
end $$;

-- Lets jobs go on that stand before these tokens: as many as may run, less those that are ready already and are not behind them;
-- all (at most 1000 for each) if the token is no limit any more. Returns how many.
create function reeve.unblock(tokens text[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        t text;
        most integer;
        room integer;
        top smallint;
        n integer := 0;
begin
        foreach t in array tokens loop
                most := reeve.token_room(t);
                room := 1000;
                top := 32767;
                loop
                        select b.priority into top from reeve.blocked b
                        where b.token = t and b.priority < top order by b.priority desc limit 1;
                        exit when not found;
                        if most is not null then
                                select most - count(*) into room
                                from (
                                        select r.job from reeve.ready r where r.token = t limit greatest(most, 0)::bigint + 100
                                ) r cross join lateral (select j.priority, j.queue from reeve.job j where j.id = r.job limit 1) j
                                where j.priority >= top
                                        and not exists (select from reeve.queue q where q.name = j.queue and q.paused);
                        end if;
                        exit when room <= 0;
                        n := n + reeve.unblock_lanes(t, top, least(room, 1000), most is not null);
                end loop;
        end loop;
        return n;
end $$;

-- Looks after so many tokens, in their order behind the given one, and lets go on whoever can. n: how many did; last: where to go on,
-- null if that was all. One at a time; who is not the one gets 0 and null.
create function reeve.unblock_next(after text, most integer, out n integer, out last text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        tokens text[];
begin
        n := 0;
        if not pg_try_advisory_xact_lock(1819111790, 0) then
                return;
        end if;
        with recursive t as (
                (select b.token, 1 as i from reeve.blocked b where b.priority is not null and b.token > after
                order by b.token limit 1)
                union all
                select f.token, t.i + 1 from t cross join lateral (
                        select b.token from reeve.blocked b where b.priority is not null and b.token > t.token
                        order by b.token limit 1) f
                where t.i < most
        )
        select array_agg(t.token order by t.i) into tokens from t;
        if tokens is not null then
                n := reeve.unblock(tokens);
                last := case when cardinality(tokens) = most then tokens[most] end;
        end if;
end $$;

-- Claims jobs of kinds that may have limits, as sql/claim-jobs.sql claims others: the same lanes, cursors and order. Each token's
-- claims are one after the other (a lock until commit), and what is counted after the lock was had is what is. A job whose token is
-- used up is blocked; one whose token somebody else is claiming at the moment is left for the next claim. Who has no token yet gets
-- one. Jobs that are late are claimed without: nobody will run them.
create function reeve.claim_limited(lanes bigint[], cursors bigint[], priorities smallint[], most integer, instance bigint,
        lease_usec bigint, puller text)
returns table (run_id bigint, run_key uuid, lane bigint, seq bigint, id uuid, kind text, queue text, priority smallint, tenant text,
        subject text, attempt smallint, interruptions smallint, flags smallint, max_attempts smallint, max_interruptions smallint,
        timeout_usec bigint, payload jsonb, payload_blob text, inputs jsonb, late boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
        c record;
        known text[] := '{}';
        room integer[] := '{}'; -- of each of them; null: somebody else claims
        t text;
        i integer;
        blocker text;
        is_busy boolean;
        patience integer := 5;
        n_seen integer;
        taken tid[] := '{}';
        taken_tokens text[] := '{}';
        full_up tid[];
        full_tokens text[];
begin
        for round in 1..20 loop
                n_seen := 0;
                full_up := '{}';
                full_tokens := '{}';
                for c in
                        with lane as materialized (
                                select * from unnest(lanes, cursors, priorities) with ordinality as t (lane, cursor, priority, ord)
                        ), candidate as materialized (
                                select r.at, r.seq, r.job, r.token, l.priority, l.ord
                                from lane l cross join lateral (
                                        select x.ctid as at, x.seq, x.job, x.token
                                        from reeve.ready x where x.lane = l.lane and x.seq > l.cursor
                                        order by x.seq limit 2 * (most - cardinality(taken)) + 8 for update skip locked
                                ) r
                        ), picked as materialized (
                                select p.*, row_number() over (order by p.priority desc, p.turn, p.ord) as place from (
                                        select d.*, row_number() over (partition by d.ord order by d.seq) as turn from candidate d
                                ) p
                                order by p.priority desc, p.turn, p.ord limit 2 * (most - cardinality(taken)) + 8
                        )
                        select p.at, p.seq, p.ord, coalesce(j.deadline <= clock_timestamp(), false) as late,
                                reeve.job_tokens(k.kind, j.payload, j.tenant, j.subject, j.concurrency_key) as tokens
                        from picked p cross join lateral (select * from reeve.job x where x.id = p.job limit 1) j
                        left join lateral (select x as kind from reeve.kind x where x.name = j.kind limit 1) k on true
                        order by p.place
                loop
                        exit when cardinality(taken) >= most or cardinality(known) >= 200;
                        n_seen := n_seen + 1;
                        cursors[c.ord] := greatest(cursors[c.ord], c.seq);
                        blocker := null;
                        is_busy := false;
                        foreach t in array case when c.late then '{}' else c.tokens end loop
                                i := array_position(known, t);
                                if i is null then
                                        i := cardinality(known) + 1;
                                        known[i] := t;
                                        room[i] := null;
                                        loop
                                                if pg_try_advisory_xact_lock(1819111789, hashtext(t)) then
                                                        room[i] := coalesce(reeve.token_room(t), 1000000);
                                                end if;
                                                exit when room[i] is not null or patience = 0;
                                                patience := patience - 1;
                                                perform pg_sleep(0.002);
                                        end loop;
                                end if;
                                is_busy := room[i] is null;
                                blocker := case when room[i] <= 0 then t end;
                                exit when is_busy or blocker is not null;
                        end loop;
                        if blocker is not null then
                                full_up := full_up || c.at;
                                full_tokens := full_tokens || blocker;
                        elsif not is_busy then
                                taken := taken || c.at;
                                taken_tokens := taken_tokens || case when not c.late then c.tokens[1] end;
                                foreach t in array case when c.late then '{}' else c.tokens end loop
                                        i := array_position(known, t);
                                        room[i] := room[i] - 1;
                                end loop;
                        end if;
                end loop;

                if cardinality(full_up) > 0 then
                        with gone as (
                                delete from reeve.ready r using unnest(full_up, full_tokens) f (at, token) where r.ctid = f.at
                                returning r.job, f.token, r.place, r.seq, r.lane, r.attempt, r.interruptions, r.flags
                        ), told as (
                                insert into reeve.history (job, event, from_state, to_state, attempt, interruptions, actor, reason)
                                select g.job, 'block', 'ready', 'blocked', g.attempt, g.interruptions, 'reeve', reeve.token_to_text(g.token)
                                from gone g where g.place is null order by g.seq
                        )
                        insert into reeve.blocked (job, token, seq, lane, attempt, interruptions, flags, priority)
                        select g.job, g.token, coalesce(g.place, g.seq), g.lane, g.attempt, g.interruptions, g.flags, j.priority
                        from gone g cross join lateral (select * from reeve.job x where x.id = g.job limit 1) j;
                end if;
                exit when cardinality(taken) >= most or cardinality(known) >= 200 or n_seen = 0;
        end loop;

        return query
        with gone as (
                delete from reeve.ready r using unnest(taken, taken_tokens) t (at, token) where r.ctid = t.at
                returning r.lane, r.seq, r.job, r.attempt, r.interruptions, r.flags, t.token
        ), got as materialized (
                select g.*, nextval('reeve.run_seq') as run_id, gen_random_uuid() as run_key from gone g
        ), leased as (
                insert into reeve.lease (run_id, run_key, job, instance, lane, attempt, interruptions, flags, started, expires_at,
                        puller, token)
                select g.run_id, g.run_key, g.job, claim_limited.instance, g.lane, g.attempt, g.interruptions, g.flags,
                        claim_limited.lease_usec is not null,
                        clock_timestamp() + claim_limited.lease_usec * interval '1 microsecond', claim_limited.puller, g.token
                from got g
        )
        select g.run_id, g.run_key, g.lane, g.seq, j.id, j.kind, j.queue, j.priority, j.tenant, j.subject, g.attempt,
                g.interruptions, g.flags, j.max_attempts, j.max_interruptions, j.timeout_usec, j.payload, j.payload_blob, j.inputs,
                coalesce(j.deadline <= clock_timestamp(), false)
        from got g cross join lateral (select * from reeve.job x where x.id = g.job limit 1) j;
end $$;

alter type reeve.enqueue_input add attribute concurrency_key text, add attribute tokens text[],
        add attribute unique_usec bigint, add attribute digest text;

-- The one way into the queue: see 0001_queue. New in a job: concurrency_key, unique_usec (for so long, others with the same payload,
-- inputs and subject are this one, unless it failed or was cancelled; 0: not), which its kind may say as well, as it may say when its
-- deadline is. Children and retries are never the same as others.
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

-- New options: unique_for (an interval) and concurrency_key. Otherwise as in 0001_queue.
create or replace function reeve.enqueue(kind text, payload jsonb default 'null', options jsonb default '{}') returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        known constant text[] := '{queue,priority,tenant,subject,run_at,delay,deadline,max_attempts,timeout,unique_key,
                unique_for,concurrency_key}';
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

        entry := (coalesce(options, '{}') - '{delay,timeout,unique_for}'::text[]) || jsonb_build_object('kind', kind, 'payload', payload);
        if options ?& '{delay,run_at}'::text[] then
                raise exception 'option "delay" and option "run_at" exclude each other' using errcode = '22023';
        end if;
        if options ?| '{priority,run_at,delay,deadline,max_attempts,timeout,unique_for}'::text[] then
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
                        option := 'unique_for';
                        if options ? option then
                                entry := entry || jsonb_build_object('unique_usec',
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

-- As in 0010_events, and why a job is blocked.
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
                        order by h.id desc limit 1) end,
                'blocked_by', case when b.job is not null then reeve.blocked_by(b.token) end))
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

revoke all on function reeve.limit_token(text, text, text[], jsonb, text, text, text), reeve.token_to_text(text), reeve.token_limit(text),
        reeve.job_tokens(reeve.kind, jsonb, text, text, text), reeve.token_room(text), reeve.blocked_by(text), reeve.unblock_lanes(text, smallint, integer, boolean), reeve.unblock(text[]),
        reeve.unblock_next(text, integer), reeve.claim_limited(bigint[], bigint[], smallint[], integer, bigint, bigint, text)
        from public;
grant execute on function reeve.token_to_text(text), reeve.token_limit(text), reeve.blocked_by(text), reeve.unblock(text[]),
        reeve.claim_limited(bigint[], bigint[], smallint[], integer, bigint, bigint, text) to reeve_worker, reeve_api;
grant execute on function reeve.unblock_next(text, integer) to reeve_worker;
