-- What reeve-maintenance does: results expire, weeks of jobs are dropped, files that nobody names are found.

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

revoke all on function reeve.expire_results(integer), reeve.is_over(uuid), reeve.oldest_week(timestamptz),
        reeve.forget_week(timestamptz, integer), reeve.drop_week(timestamptz), reeve.mark_orphans() from public;
grant select on reeve.expiry, reeve.late_result to reeve_api, reeve_worker;
grant update (orphan_since) on reeve.blob to reeve_worker, reeve_api;
