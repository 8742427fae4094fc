-- RateLimit=: how many runs of a kind, or of each value of a key, may begin in a time, on all hosts together.
--
-- Another token (see 0012_limits), "rate:" instead of "limit:": a run needs both. Nothing holds it; a bucket remembers one instant,
-- by the virtual scheduling algorithm (ITU-T I.371, Annex A; also called GCRA): with a step T = time / number, the theoretical
-- arrival time TAT of the next, and room for a burst of B, a run may begin at t if TAT - (B - 1) T <= t, and then TAT becomes
-- max(TAT, t) + T. So at most number + B - 1 begin in any such time. All instants are the database's.

alter table reeve.kind add column rate_n integer check (rate_n > 0); -- null: no limit
alter table reeve.kind add column rate_usec bigint check (rate_usec > 0);
alter table reeve.kind add column rate_burst integer check (rate_burst > 0);
alter table reeve.kind add column rate_key text[]; -- as concurrency_key

-- No row: as if nothing had ever begun.
create table reeve.bucket (
        token text primary key,
        tat timestamptz not null,
        wake_at timestamptz -- when the first that stands in line may go on; null: nobody does
) with (fillfactor = 50);
create index bucket_wake on reeve.bucket (wake_at) where wake_at is not null;

-- What a token's kind says: so many in a time, B, T. Nulls if it has no such limit, or this is not its key any more.
create function reeve.token_rate(token text, out most integer, out usec bigint, out burst integer, out step interval)
language sql stable
return (
        select row (k.rate_n, k.rate_usec, k.rate_burst,
                make_interval(secs => ceil(k.rate_usec::numeric / k.rate_n)::double precision / 1000000))
        from reeve.kind k
        where k.name = split_part(token, ':', 2) and k.rate_n is not null and starts_with(token,
                'rate:' || k.name || ':' || coalesce(array_to_string(k.rate_key, ' '), '') || '='));

-- How many may begin at an instant, one after the other: the largest n with TAT + (n - 1) T - (B - 1) T <= t.
create function reeve.rate_room(tat timestamptz, at timestamptz, step interval, burst integer) returns integer
language sql immutable parallel safe
return case when tat is null or tat <= at then burst
        else (burst - least(burst, ceil(extract(epoch from tat - at) / extract(epoch from step))))::integer end;

-- Notes that so many began, and when the first in line may go on after those that are ready. A clock that was set back, or a rate that
-- was raised, makes nobody wait for longer than a whole burst from now on.
create function reeve.settle_bucket(token text, spent integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        at timestamptz := clock_timestamp();
        rate record;
        n_ready integer;
        stands boolean;
begin
        select * into rate from reeve.token_rate(token);
        stands := rate.most is not null and exists (
                select from reeve.blocked b where b.token = settle_bucket.token and b.priority is not null);
        if spent = 0 and not stands then
                update reeve.bucket b set wake_at = null where b.token = settle_bucket.token and b.wake_at is not null;
                return;
        end if;
        if rate.most is null then
                return;
        end if;
        select count(*) into n_ready from (
                select from reeve.ready r where r.token = settle_bucket.token limit rate.burst) r;
        insert into reeve.bucket as b (token, tat, wake_at)
        values (token, at + spent * rate.step,
                case when stands then at + (greatest(spent + n_ready - rate.burst, 0) + 1) * rate.step end)
        on conflict on constraint bucket_pkey do update
        set tat = case when spent = 0 then least(b.tat, at + rate.burst * rate.step)
                        else greatest(at, least(b.tat, at + rate.burst * rate.step)) + spent * rate.step end,
                wake_at = case when stands then greatest(at + interval '1 millisecond',
                        greatest(at, least(b.tat, at + rate.burst * rate.step))
                                + (spent + n_ready - rate.burst + 1) * rate.step) end;
end $$;

-- Lets go on who stands before buckets whose time has come, at most so many of these. n: how many did; next_usec: until the next one's
-- time, null if nobody waits.
create function reeve.wake_buckets(most integer, out n bigint, out next_usec bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        tokens text[];
begin
        select array_agg(w.token) into tokens from (
                select b.token from reeve.bucket b where b.wake_at <= statement_timestamp()
                order by b.wake_at limit most for update skip locked) w;
        n := case when tokens is null then 0 else reeve.unblock(tokens) end;
        select greatest(0, ceil(extract(epoch from b.wake_at - clock_timestamp()) * 1000000))::bigint into next_usec
        from reeve.bucket b where b.wake_at is not null order by b.wake_at limit 1;
end $$;

-- As in 0012_limits, with rates.
create or replace function reeve.job_tokens(k reeve.kind, payload jsonb, tenant text, subject text, given text) returns text[]
language sql immutable parallel safe
return case when k.concurrency is null and k.rate_n is null then '{}'::text[]
        else array_remove(array[
                case when k.concurrency is not null
                then reeve.limit_token('limit', k.name, k.concurrency_key, payload, tenant, subject, given) end,
                case when k.rate_n is not null
                then reeve.limit_token('rate', k.name, k.rate_key, payload, tenant, subject,
                        case when k.rate_key = k.concurrency_key then given end) end], null) end;

create or replace function reeve.token_room(token text) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
        most integer;
        rate record;
begin
        if token like 'rate:%' then
                select * into rate from reeve.token_rate(token);
                return reeve.rate_room((select b.tat from reeve.bucket b where b.token = token_room.token), clock_timestamp(),
                        rate.step, rate.burst);
        end if;
        most := reeve.token_limit(token);
        return most - (select count(*) from (select from reeve.lease l where l.token = token_room.token limit most) l);
end $$;

create or replace function reeve.blocked_by(token text) returns jsonb
language sql stable
return case split_part(token, ':', 1)
        when 'limit' then jsonb_strip_nulls(jsonb_build_object('limit', 'concurrency', 'key', reeve.token_to_text(token),
                'most', reeve.token_limit(token), 'running', (
                        select count(*) from (select from reeve.lease l where l.token = blocked_by.token limit 10000) l)))
        when 'rate' then (
                select jsonb_strip_nulls(jsonb_build_object('limit', 'rate', 'key', reeve.token_to_text(token), 'most', r.most,
                        'interval_usec', r.usec, 'next_at', greatest(statement_timestamp(), (
                                select b.tat - (r.burst - 1) * r.step from reeve.bucket b where b.token = blocked_by.token))))
                from reeve.token_rate(token) r)
        when 'children' then jsonb_build_object('limit', 'children', 'key', reeve.token_to_text(token)) end;

create or replace function reeve.unblock(tokens text[]) returns integer
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
                if t like 'rate:%' then
                        perform reeve.settle_bucket(t, 0);
                end if;
        end loop;
        return n;
end $$;

create or replace function reeve.claim_limited(lanes bigint[], cursors bigint[], priorities smallint[], most integer, instance bigint,
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
        spent integer[] := '{}';
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
                                        spent[i] := 0;
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
                                taken_tokens := taken_tokens || case when not c.late and c.tokens[1] like 'limit:%' then c.tokens[1] end;
                                foreach t in array case when c.late then '{}' else c.tokens end loop
                                        i := array_position(known, t);
                                        room[i] := room[i] - 1;
                                        spent[i] := spent[i] + 1;
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

        for t, i in
                select k.token, k.spent from unnest(known, room, spent) as k (token, room, spent)
                where k.token like 'rate:%' and k.room is not null order by k.token
        loop
                perform reeve.settle_bucket(t, i);
        end loop;
end $$;

revoke all on function reeve.token_rate(text), reeve.rate_room(timestamptz, timestamptz, interval, integer),
        reeve.settle_bucket(text, integer), reeve.wake_buckets(integer) from public;
grant execute on function reeve.token_rate(text) to reeve_worker, reeve_api;
grant execute on function reeve.wake_buckets(integer) to reeve_worker;
grant select on reeve.bucket to reeve_worker, reeve_api;
