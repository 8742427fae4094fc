-- Takes back what 0014_rate_limit made. What a rate held back is ready, for who comes back to this schema.
with gone as (
        delete from reeve.blocked b where b.priority is not null and b.token like 'rate:%' returning b.*
)
insert into reeve.ready (job, lane, attempt, interruptions, flags)
select g.job, g.lane, g.attempt, g.interruptions, g.flags from gone g order by g.seq;
update reeve.ready r set token = null where r.token like 'rate:%';

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
        end loop;
        return n;
end $$;

create or replace function reeve.blocked_by(token text) returns jsonb
language sql stable
return case when token like 'limit:%' then jsonb_strip_nulls(jsonb_build_object('limit', 'concurrency',
                'key', reeve.token_to_text(token), 'most', reeve.token_limit(token), 'running', (
                        select count(*) from (select from reeve.lease l where l.token = blocked_by.token limit 10000) l)))
        when token like 'children:%' then jsonb_build_object('limit', 'children', 'key', reeve.token_to_text(token)) end;

create or replace function reeve.token_room(token text) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
        most integer := reeve.token_limit(token);
begin
        return most - (select count(*) from (select from reeve.lease l where l.token = token_room.token limit most) l);
end $$;

create or replace function reeve.job_tokens(k reeve.kind, payload jsonb, tenant text, subject text, given text) returns text[]
language sql immutable parallel safe
return case when k.concurrency is null then '{}'::text[]
        else array[reeve.limit_token('limit', k.name, k.concurrency_key, payload, tenant, subject, given)] end;

drop function reeve.wake_buckets(integer), reeve.settle_bucket(text, integer),
        reeve.rate_room(timestamptz, timestamptz, interval, integer), reeve.token_rate(text);
drop table reeve.bucket;
alter table reeve.kind drop column rate_key, drop column rate_burst, drop column rate_usec, drop column rate_n;
