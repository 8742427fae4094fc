-- Takes back what 0016_line made: the functions are those of 0012_limits and 0014_rate_limit again.
create or replace function reeve.limit_token(sort text, kind text, words text[], payload jsonb, tenant text, subject text, given text) returns text
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

create or replace function reeve.unblock_lanes(token text, priority smallint, most integer, keep boolean) returns integer
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

create or replace function reeve.settle_bucket(token text, spent integer) returns void
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

drop function reeve.count_ready(text, smallint, integer);
drop function reeve.is_served(text, text);
