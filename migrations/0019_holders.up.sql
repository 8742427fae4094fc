-- What others hold, or are called, is in nobody's way.

-- A worker that registers under a name that another one has stops that one's row only if it knows that it is gone: two that live, on
-- hosts of one host name or on one host, would take each other for a predecessor, again and again.

-- As no other is called (src/worker/namesake.h), for one that runs where PIDs mean the same; null: not known.
alter table reeve.instance add column process text;
alter table reeve.instance add column machine text;

-- Stops those of this name that the caller knows to be gone, if their counters are still as it saw them, and makes its row unless others
-- are left. One row with made, or these others. One at a time for a name.
create function reeve.register_instance(host text, name text, boot_id text, pid integer, version text, schema_version integer,
        kinds text[], queues text[], slots integer, process text, machine text, gone bigint[], beats bigint[])
returns table (id bigint, made boolean, beat bigint, age_usec bigint, other_pid integer, other_process text, other_machine text)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
        perform pg_advisory_xact_lock(1819111791,
                hashtext(register_instance.host || chr(31) || register_instance.name));
        update reeve.instance i
        set state = 'stopped', stopped_at = clock_timestamp(), stop_cause = 'worker-died', busy = 0
        from unnest(gone, beats) g (id, beat)
        where i.id = g.id and i.beat = g.beat and i.stopped_at is null
                and i.host = register_instance.host and i.name = register_instance.name;
        return query
        select i.id, false, i.beat, (extract(epoch from clock_timestamp() - i.beat_at) * 1000000)::bigint, i.pid, i.process, i.machine
        from reeve.instance i
        where i.host = register_instance.host and i.name = register_instance.name and i.stopped_at is null
        order by i.id;
        if not found then
                return query
                insert into reeve.instance as i (host, name, boot_id, pid, version, schema_version, kinds, queues, slots, process, machine)
                values (register_instance.host, register_instance.name, register_instance.boot_id, register_instance.pid,
                        register_instance.version, register_instance.schema_version, register_instance.kinds,
                        register_instance.queues, register_instance.slots, register_instance.process, register_instance.machine)
                returning i.id, true, i.beat, 0::bigint, i.pid, i.process, i.machine;
        end if;
end $$;

revoke all on function reeve.register_instance(text, text, text, integer, text, integer, text[], text[], integer, text, text,
        bigint[], bigint[]) from public;
grant execute on function reeve.register_instance(text, text, text, integer, text, integer, text[], text[], integer, text, text,
        bigint[], bigint[]) to reeve_worker;

-- As in 0001_queue, but those that somebody's transaction holds are left for the next time, and keep no others waiting.
create or replace function reeve.expire_deadlines(back interval, most integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        at timestamptz := clock_timestamp(); -- a condition of the index, which a volatile function cannot be
        patience text := current_setting('lock_timeout');
        overdue uuid[];
        late uuid;
        n integer := 0;
begin
        -- Whoever holds a table (to empty its end) is waited for as always; only for a job there is no time.
        overdue := array(
                select j.id from reeve.job j
                where j.deadline <= at and j.deadline > at - back
                        and not exists (select from reeve.done d where d.job between j.id and j.id)
                        and not exists (select from reeve.lease l where l.job between j.id and j.id)
                order by j.deadline limit 2 * most::bigint);
        perform set_config('lock_timeout', '2ms', true);
        foreach late in array overdue loop
                exit when n >= most;
                begin
                        if reeve.end_idle_job(late, 'failed', 'deadline', 'reeve', 'its deadline passed before it ran') = 'ended' then
                                n := n + 1;
                        end if;
                exception when lock_not_available or serialization_failure then
                        null;
                end;
        end loop;
        perform set_config('lock_timeout', patience, true);
        return n;
end $$;
