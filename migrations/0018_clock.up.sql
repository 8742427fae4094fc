-- A step back of the database's clock costs no rate (see 0014_rate_limit): what was ahead of the clock when a bucket was last looked at
-- is as far ahead of it afterwards.

alter table reeve.bucket add column noted_at timestamptz; -- the clock when the row was written; null: by the version before

-- TAT by a clock that says at. Nobody wrote the row in the future: a clock that is behind it was set back by that much, or by more.
-- (An interval of seconds, for the days of a difference of instants are as long as the time zone has them.)
create function reeve.bucket_tat(tat timestamptz, noted_at timestamptz, at timestamptz) returns timestamptz
language sql immutable parallel safe
return case when noted_at > at then tat - make_interval(secs => extract(epoch from noted_at - at)::double precision) else tat end;

create or replace function reeve.token_room(token text) returns integer
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
        most integer;
        rate record;
begin
        if token like 'rate:%' then
                select * into rate from reeve.token_rate(token);
                return reeve.rate_room((
                                select reeve.bucket_tat(b.tat, b.noted_at, clock_timestamp()) from reeve.bucket b
                                where b.token = token_room.token), clock_timestamp(), rate.step, rate.burst);
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
                                select reeve.bucket_tat(b.tat, b.noted_at, statement_timestamp()) - (r.burst - 1) * r.step
                                from reeve.bucket b where b.token = blocked_by.token))))
                from reeve.token_rate(token) r)
        when 'children' then jsonb_build_object('limit', 'children', 'key', reeve.token_to_text(token)) end;

-- The clock is read when the row is ours: or else one that waited for it would take another's later look for a step.
create or replace function reeve.settle_bucket(token text, spent integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        at timestamptz;
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
        n_ready := least(reeve.count_ready(token, 1::smallint, rate.burst), rate.burst);
        perform from reeve.bucket b where b.token = settle_bucket.token for update;
        at := clock_timestamp();
        insert into reeve.bucket as b (token, tat, noted_at, wake_at)
        values (token, at + spent * rate.step, at,
                case when stands then at + (greatest(spent + n_ready - rate.burst, 0) + 1) * rate.step end)
        on conflict on constraint bucket_pkey do update
        set (tat, noted_at, wake_at) = (
                select case when spent = 0 then t.tat else greatest(at, t.tat) + spent * rate.step end, at,
                        case when not stands then null when d.due > at then d.due when spent = 0 then at + interval '1 second'
                        else at + interval '1 millisecond' end
                from (select least(reeve.bucket_tat(b.tat, b.noted_at, at), at + rate.burst * rate.step) as tat) t
                cross join lateral (
                        select greatest(at, t.tat) + (spent + n_ready - rate.burst + 1) * rate.step as due) d);
end $$;

revoke all on function reeve.bucket_tat(timestamptz, timestamptz, timestamptz) from public;
