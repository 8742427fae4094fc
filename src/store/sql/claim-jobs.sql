-- Claims jobs for free slots: the oldest of each given lane behind its cursor, lanes of higher priority first, lanes of
-- one priority in turn. Jobs whose deadline has passed are claimed too; the caller ends them without running them.
-- Locks: the ready rows taken, skipping those that another session holds (and, until commit, rows fetched but not
-- picked: at most $4 in a lane). Rows: <= $4. Index: ready_pkey by (lane, seq); job by its partition's pkey.
-- The rows to delete are named by ctid (they are locked, and never updated) and the jobs by lateral probes, for joins on
-- their keys are planned while the tables are empty, as scans of the whole.
-- $1 bigint[] lanes, highest priority first   $2 bigint[] cursors   $3 smallint[] priorities   $4 integer how many
-- $5 bigint instance                          $6 text[] kinds that the instance can run
-- $7 bigint usec until the lease ends by itself and $8 text who pulls: null for a worker, which has heartbeats
with lane as materialized (
        select * from unnest($1::bigint[], $2::bigint[], $3::smallint[]) with ordinality as t (lane, cursor, priority, ord)
), candidate as materialized (
        select r.place, r.seq, l.priority, l.ord
        from lane l cross join lateral (
                select r.ctid as place, r.seq
                from reeve.ready r where r.lane = l.lane and r.seq > l.cursor
                order by r.seq limit $4::integer for update skip locked
        ) r
), picked as materialized (
        select c.place from (
                select c.*, row_number() over (partition by c.ord order by c.seq) as turn from candidate c
        ) c
        order by c.priority desc, c.turn, c.ord limit $4::integer
), deleted as (
        delete from reeve.ready r using picked p where r.ctid = p.place
        returning r.lane, r.seq, r.job, r.attempt, r.interruptions, r.flags
), taken as materialized (
        select d.*, nextval('reeve.run_seq') as run_id, gen_random_uuid() as run_key from deleted d
), leased as (
        insert into reeve.lease (run_id, run_key, job, instance, lane, attempt, interruptions, flags, started, expires_at, puller)
        select t.run_id, t.run_key, t.job, $5::bigint, t.lane, t.attempt, t.interruptions, t.flags, $7::bigint is not null,
                clock_timestamp() + $7::bigint * interval '1 microsecond', $8::text
        from taken t
)
select t.run_id, t.run_key, t.lane, t.seq, j.id, j.kind, j.queue, j.priority, j.tenant, j.subject, t.attempt,
        t.interruptions, t.flags, j.max_attempts, j.max_interruptions, j.timeout_usec, j.payload::text, j.payload_blob,
        j.inputs::text, coalesce(j.deadline <= clock_timestamp(), false) as late, j.kind = any ($6::text[]) as known
from taken t cross join lateral (select * from reeve.job j where j.id = t.job limit 1) j
order by j.priority desc, t.seq
