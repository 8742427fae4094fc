-- What reeve-maintenance does: results expire, weeks of jobs are dropped, files that nobody names are found.

alter table reeve.done add column expired_at timestamptz; -- its result and files went: KeepResult= of its kind

-- Since when no job names it; a new reference or upload clears it. A row is forgotten, and then its file removed, only
-- after a grace time, so that who is about to refer to it comes first.
alter table reeve.blob add column orphan_since timestamptz;
create index blob_orphan on reeve.blob (orphan_since) where orphan_since is not null;

-- How far expire_results() has come in each kind, by the job's id, and whom it passed because they had not ended.
create table reeve.expiry (
        kind text primary key,
        reached uuid not null
);
create table reeve.late_result (
        job uuid primary key,
        kind text not null
);

-- Makes the weekly partitions of job and done from last week to the given instant. Weeks begin on Monday, UTC. Callers
-- wait for each other on an advisory lock, for partitions are made by every worker that starts. Rows of a week that had
-- no partition yet stand in the default one: they move into the new one.
create or replace function reeve.ensure_partitions(until timestamptz default now() + interval '28 days') returns integer
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

-- Whether nobody needs what a job gave: it has ended, and so has its parent, which reads it when it joins.
create function reeve.is_over(id uuid) returns boolean
language sql stable
return exists (select from reeve.done d where d.job = is_over.id)
        and not exists (
                select from reeve.job j
                where j.id = is_over.id and j.parent is not null
                        and exists (select from reeve.job p where p.id = j.parent)
                        and not exists (select from reeve.done p where p.job = j.parent));

-- Forgets results and files of jobs that ended longer ago than KeepResult= of their kind; what happened to them stays
-- known. Looks at no more than most jobs of a kind, in the order of their ids, and at each only once: those that had not
-- ended are noted and looked at by themselves. Returns how many it looked at of the busiest kind, less than most when it
-- is done, and how many expired.
create function reeve.expire_results(most integer, out n_seen integer, out n_expired integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        k record;
        seen uuid[];
        due uuid[];
begin
        n_seen := 0;
        n_expired := 0;
        for k in
                select kind.name, make_interval(secs => least(kind.keep_usec, 315360000000000) / 1000000.0) as keep, expiry.reached
                from reeve.kind kind left join reeve.expiry expiry on expiry.kind = kind.name
                where kind.keep_usec is not null order by kind.name
        loop
                seen := array(
                        select j.id from reeve.job j
                        where j.kind = k.name and j.id > coalesce(k.reached, '00000000-0000-0000-0000-000000000000'::uuid)
                                and j.id < reeve.uuid_floor(clock_timestamp() - k.keep)
                        order by j.id limit most);
                due := array(
                        select d.job from reeve.done d
                        where d.job = any (seen) and d.finished_at <= clock_timestamp() - k.keep and reeve.is_over(d.job));
                if cardinality(seen) > 0 then
                        insert into reeve.late_result (job, kind)
                        select s, k.name from unnest(seen) s where s <> all (due)
                        on conflict do nothing;
                        insert into reeve.expiry (kind, reached) values (k.name, seen[cardinality(seen)])
                        on conflict (kind) do update set reached = excluded.reached;
                end if;
                with late as (
                        select l.job from reeve.late_result l join reeve.done d on d.job = l.job
                        where l.kind = k.name and d.finished_at <= clock_timestamp() - k.keep and reeve.is_over(l.job)
                        limit most
                ), gone as (
                        delete from reeve.late_result l using late where l.job = late.job returning l.job
                )
                select due || array(select g.job from gone g) into due;
                update reeve.done d set result = null, result_blob = null, expired_at = clock_timestamp()
                where d.job = any (due);
                delete from reeve.blob_ref r where r.job = any (due);
                n_seen := greatest(n_seen, cardinality(seen), cardinality(due));
                n_expired := n_expired + cardinality(due);
        end loop;
end $$;

-- The oldest week of jobs that ended before the given instant, as its name in partitions' names; null: there is none.
create function reeve.oldest_week(before timestamptz) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (
        select min(right(c.relname, 8)) from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'reeve.job'::regclass and c.relname ~ '^job_[0-9]{8}$'
                and to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' + interval '7 days' <= before);

-- Deletes at most so many rows that belong to jobs which are over, of the oldest week before the instant (and of the
-- default partition, where jobs stand that outlived their week). Returns how many: 0 when the week can be dropped.
create function reeve.forget_week(before timestamptz, most integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        week text := reeve.oldest_week(before);
        first date;
        lo uuid;
        hi uuid;
        old uuid[];
        n integer := 0;
        n_files integer;
begin
        old := array(
                select j.id from reeve.job_default j
                where j.id < reeve.uuid_floor(before) and reeve.is_over(j.id) order by j.id limit most);
        if cardinality(old) > 0 then
                delete from reeve.blob_ref r where r.job = any (old);
                delete from reeve.history h where h.job = any (old);
                delete from reeve.done d where d.job = any (old);
                delete from reeve.job j where j.id = any (old);
                return cardinality(old);
        end if;
        if week is null then
                return 0;
        end if;
        first := to_date(week, 'YYYYMMDD');
        lo := reeve.uuid_floor(first::timestamp at time zone 'UTC');
        hi := reeve.uuid_floor((first + 7)::timestamp at time zone 'UTC');
        delete from reeve.blob_ref r where r.ctid = any (array(
                select b.ctid from reeve.blob_ref b
                where b.job >= lo and b.job < hi and reeve.is_over(b.job) limit most));
        get diagnostics n_files = row_count;
        delete from reeve.history h where h.ctid = any (array(
                select b.ctid from reeve.history b
                where b.job >= lo and b.job < hi and reeve.is_over(b.job) limit most));
        get diagnostics n = row_count;
        return n + n_files;
end $$;

-- Drops the oldest week of jobs before the instant; jobs that are not over move to the default partition first. Returns
-- the week's first day, or null if there is none. Waits for nobody longer than lock_timeout.
create function reeve.drop_week(before timestamptz) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
        week text := reeve.oldest_week(before);
        first date;
        lo uuid;
        hi uuid;
        survivors uuid[];
begin
        if week is null then
                return null;
        end if;
        perform pg_advisory_xact_lock(7310593858020254331);
        lock table reeve.job, reeve.done in access exclusive mode;
        first := to_date(week, 'YYYYMMDD');
        lo := reeve.uuid_floor(first::timestamp at time zone 'UTC');
        hi := reeve.uuid_floor((first + 7)::timestamp at time zone 'UTC');
        survivors := array(
                with live as (
                        select r.job from reeve.ready r union all select s.job from reeve.scheduled s
                        union all select b.job from reeve.blocked b union all select w.job from reeve.waiting w
                        union all select l.job from reeve.lease l
                )
                select l.job from live l where l.job >= lo and l.job < hi
                union
                select j.id from live l join reeve.job j on j.parent = l.job where j.id >= lo and j.id < hi);
        execute format('alter table reeve.job detach partition reeve.%I', 'job_' || week);
        execute format('alter table reeve.done detach partition reeve.%I', 'done_' || week);
        execute format('insert into reeve.job select j.* from reeve.%I j where j.id = any ($1)', 'job_' || week) using survivors;
        execute format('insert into reeve.done select d.* from reeve.%I d where d.job = any ($1)', 'done_' || week)
        using survivors;
        execute format('drop table reeve.%I, reeve.%I', 'job_' || week, 'done_' || week);
        return to_char(to_date(week, 'YYYYMMDD'), 'YYYY-MM-DD');
end $$;

-- Says of blobs since when no job names them, and of those that are named again that they are not orphans. Returns how
-- many were marked.
create function reeve.mark_orphans() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
        n integer;
begin
        update reeve.blob b set orphan_since = null
        where b.orphan_since is not null
                and exists (select from reeve.blob_ref r where r.tenant = b.tenant and r.digest = b.digest);
        update reeve.blob b set orphan_since = clock_timestamp()
        where b.orphan_since is null
                and not exists (select from reeve.blob_ref r where r.tenant = b.tenant and r.digest = b.digest);
        get diagnostics n = row_count;
        return n;
end $$;

-- Makes a new job of one that has ended; the old one stays. A tenant or a subject that is not null must be the job's.
-- Its deadline is left out, for it has most likely passed. Outcome: created, exists (another job holds its unique key),
-- live (it has not ended), not-found, refused (detail says why). Asked again with the id of the job it made: created.
create or replace function reeve.retry_job(id uuid, tenant text, subject text, actor text, reason text default null,
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

-- A job as JSON, now with expired_at: id, kind, queue, priority, tenant, subject, state, created_at, attempt, progress, result, error, ...
-- Null if there is no such job.
create or replace function reeve.job_status(id uuid) returns jsonb
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

revoke all on function reeve.expire_results(integer), reeve.is_over(uuid), reeve.oldest_week(timestamptz),
        reeve.forget_week(timestamptz, integer), reeve.drop_week(timestamptz), reeve.mark_orphans() from public;
grant select on reeve.expiry, reeve.late_result to reeve_api, reeve_worker;
grant update (orphan_since) on reeve.blob to reeve_worker, reeve_api;
