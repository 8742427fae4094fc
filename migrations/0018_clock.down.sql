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
        n_ready := least(reeve.count_ready(token, 1::smallint, rate.burst), rate.burst);
        insert into reeve.bucket as b (token, tat, wake_at)
        values (token, at + spent * rate.step,
                case when stands then at + (greatest(spent + n_ready - rate.burst, 0) + 1) * rate.step end)
        on conflict on constraint bucket_pkey do update
        set tat = case when spent = 0 then least(b.tat, at + rate.burst * rate.step)
                        else greatest(at, least(b.tat, at + rate.burst * rate.step)) + spent * rate.step end,
                wake_at = case when stands then (
                        select case when d.due > at then d.due when spent = 0 then at + interval '1 second'
                                else at + interval '1 millisecond' end
                        from (select greatest(at, least(b.tat, at + rate.burst * rate.step))
                                + (spent + n_ready - rate.burst + 1) * rate.step as due) d) end;
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

drop function reeve.bucket_tat(timestamptz, timestamptz, timestamptz);
alter table reeve.bucket drop column noted_at;
