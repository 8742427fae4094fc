create or replace function reeve.expire_deadlines(back interval, most integer) returns integer
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

drop function reeve.register_instance(text, text, text, integer, text, integer, text[], text[], integer, text, text, bigint[], bigint[]);
alter table reeve.instance drop column machine, drop column process;
