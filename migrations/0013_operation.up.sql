-- Long actions of an operator, which outlive who asked for them; the first is the emergency rollback of a flag.

-- Which queues a flag guards: who is let in by it has his jobs there, and others have not. A row may be there before its
-- flag is made.
create table reeve.flag_queue (
        flag text not null check (flag ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        queue text not null check (queue ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        primary key (flag, queue)
);
grant select on reeve.flag_queue to reeve_api, reeve_worker;
-- System 004's: what is done synchronously is in the queue "inline".
insert into reeve.flag_queue (flag, queue) values ('async-processing', 'pdf');

create table reeve.operation (
        id bigint generated always as identity primary key,
        type text not null check (type in ('rollback-emergency')),
        subject text not null, -- the flag
        queues text[] not null check (cardinality(queues) between 1 and 16),
        phase text not null default 'disable' check (phase in ('disable', 'drain', 'verify', 'end')),
        result text not null default 'running' check (result in ('running', 'done', 'failed')),
        error_code text,
        error_message text,
        actor text not null,
        reason text,
        started_at timestamptz not null default clock_timestamp(),
        settled_at timestamptz not null, -- from then on no API lets anybody in
        deadline timestamptz not null,
        jobs integer not null default 0, -- that had been let in; not known in the phase "disable"
        remaining integer not null default 0, -- of them have not ended
        finished_at timestamptz,
        check ((result = 'running') = (finished_at is null) and (result = 'running') = (phase <> 'end'))
);
create unique index operation_running on reeve.operation (type, subject) where finished_at is null;
create index operation_finished on reeve.operation (finished_at) where finished_at is not null;
grant select on reeve.operation to reeve_api;

-- How many jobs of these queues that were made in (since, until] have not ended, counted to most; chunks and other
-- children are their parents'. Of what is ready only these queues' lanes are read; of the rest every row.
create function reeve.count_live(queues text[], since timestamptz, until timestamptz, most integer) returns integer
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
        with recursive lane as (
                (select r.lane, r.job from reeve.ready r order by r.lane, r.seq limit 1)
                union all
                select f.lane, f.job from lane l cross join lateral (
                        select r.lane, r.job from reeve.ready r where r.lane > l.lane order by r.lane, r.seq limit 1) f
        ), live as (
                select l.job from reeve.lease l
                union all select w.job from reeve.waiting w
                union all select s.job from reeve.scheduled s
                union all select b.job from reeve.blocked b
                union all
                select r.job from lane l
                cross join lateral (select j.queue from reeve.job j where j.id = l.job limit 1) q
                cross join lateral (select r.job from reeve.ready r where r.lane = l.lane) r
                where q.queue = any (count_live.queues)
        )
        select count(*)::integer from (
                select from live v
                cross join lateral (select j.queue, j.parent, j.created_at from reeve.job j where j.id = v.job limit 1) j
                where j.queue = any (count_live.queues) and j.parent is null and j.created_at > count_live.since
                        and j.created_at <= count_live.until
                limit count_live.most) t;
end;

-- Turns the flag off and begins to watch until what it let in has ended. queues: null are those that it guards. Returns
-- the operation's id; that of the one that runs already, if the flag is still off; 0: there is no such flag; -1: it
-- guards no queue.
create function reeve.start_rollback(flag text, queues text[], actor text, reason text, timeout_usec bigint) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        f reeve.flag;
        op bigint;
        at timestamptz;
begin
        select * into f from reeve.flag x where x.key = start_rollback.flag and x.archived_at is null for update;
        if not found then
                return 0;
        end if;
        queues := coalesce(queues, array(select q.queue from reeve.flag_queue q where q.flag = start_rollback.flag order by 1));
        if cardinality(queues) = 0 then
                return -1;
        end if;
        select o.id into op from reeve.operation o
        where o.type = 'rollback-emergency' and o.subject = start_rollback.flag and o.finished_at is null for update;
        if found and not f.enabled then
                return op;
        end if;
        if found then
                perform reeve.end_operation(op, 'failed', 'FLAG_ON', 'the flag was turned on again by ' || f.updated_by);
        end if;
        if f.enabled then
                update reeve.flag x set enabled = false, version = x.version + 1, updated_by = start_rollback.actor,
                        updated_at = clock_timestamp()
                where x.key = f.key;
                insert into reeve.history (object, event, actor, reason, detail)
                values ('flag/' || f.key, 'set-enabled', actor, reason,
                        jsonb_build_object('version', f.version + 1, 'enabled', false, 'was', true));
                perform pg_notify('reeve_flag', '');
        end if;
        -- Hosts that get no notification read the flags every 2 s; a job may have been on its way for another. Nothing is
        -- counted yet: the flag is to be off at once.
        at := clock_timestamp() + interval '3 seconds';
        insert into reeve.operation (type, subject, queues, actor, reason, settled_at, deadline)
        values ('rollback-emergency', f.key, queues, actor, reason, at, at + timeout_usec * interval '1 microsecond')
        returning id into op;
        insert into reeve.history (object, event, actor, reason, detail)
        values ('flag/' || f.key, 'rollback-emergency', actor, reason,
                jsonb_build_object('operation', op, 'queues', queues));
        return op;
end $$;

create function reeve.end_operation(id bigint, result text, code text, message text) returns void
language sql set search_path = pg_catalog, pg_temp
begin atomic
        with ended as (
                update reeve.operation o
                set result = end_operation.result, phase = 'end', error_code = end_operation.code,
                        error_message = end_operation.message, finished_at = clock_timestamp()
                where o.id = end_operation.id and o.finished_at is null
                returning o.*
        )
        insert into reeve.history (object, event, actor, reason, error_code, error_message, detail)
        select 'flag/' || e.subject, e.type || '-' || e.result, e.actor, e.reason, e.error_code, e.error_message,
                jsonb_build_object('operation', e.id, 'jobs', e.jobs, 'remaining', e.remaining)
        from ended e;
end;

-- One look at a running operation, by whoever comes first: whether it goes on. Every step can be taken again by anybody at
-- any time.
create function reeve.advance_operation(id bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
        o reeve.operation;
        by_whom text;
        n integer;
        late integer;
begin
        select * into o from reeve.operation x where x.id = advance_operation.id and x.finished_at is null
        for update skip locked;
        if not found then
                return true; -- somebody else looks
        end if;
        select f.updated_by into by_whom from reeve.flag f where f.key = o.subject and f.enabled and f.archived_at is null;
        if found then
                perform reeve.end_operation(id, 'failed', 'FLAG_ON', 'the flag was turned on again by ' || by_whom);
                return false;
        end if;
        n := reeve.count_live(o.queues, '-infinity', o.settled_at, 100000);
        update reeve.operation x
        set remaining = n, jobs = greatest(x.jobs, n),
                phase = case when n = 0 and clock_timestamp() > x.settled_at then 'verify' else 'drain' end
        where x.id = o.id;
        if n > 0 and clock_timestamp() > o.deadline then
                perform reeve.end_operation(id, 'failed', 'TIMEOUT',
                        format('%s jobs have not ended in time; the flag stays off', n));
        elsif n = 0 and o.phase = 'verify' then
                -- Whoever is not asked by the flag was not stopped by it either.
                select count(*) into late from (
                        select from reeve.job j
                        where j.queue = any (o.queues) and j.id >= reeve.uuid_floor(o.settled_at - interval '1 hour')
                                and j.parent is null and j.created_at > o.settled_at limit 10000) t;
                if late > 0 then
                        perform reeve.end_operation(id, 'failed', 'LATE_JOBS', format(
                                '%s jobs have come into %s since, from who does not ask the flag; what it had let in has ended',
                                late, array_to_string(o.queues, ', ')));
                else
                        perform reeve.end_operation(id, 'done', null, null);
                end if;
        end if;
        return exists (select from reeve.operation x where x.id = o.id and x.finished_at is null);
end $$;

revoke all on function reeve.count_live(text[], timestamptz, timestamptz, integer),
        reeve.start_rollback(text, text[], text, text, bigint), reeve.end_operation(bigint, text, text, text),
        reeve.advance_operation(bigint) from public;
