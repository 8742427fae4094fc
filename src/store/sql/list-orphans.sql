-- Runs of stopped instances and of pullers that were not heard of in time, for whoever gets there first to end; but none
-- that somebody holds: its end would wait, and with it those of the others. An instance counts as unreaped until a minute
-- after its end, for a claim that was under way may still have been committed.
-- Locks: the instance rows marked reaped; the lease rows, skipping those held, for the statement. Rows: <= $1.
-- Index: instance_unreaped; lease_pkey from the instance's first run; lease_expires.
-- $1 integer most
with unreaped as (
        select i.id, i.first_run, i.host, i.stop_cause, i.stopped_at from reeve.instance i
        where not i.reaped and i.stopped_at is not null
), orphan as materialized (
        select l.run_id, l.run_key, l.job, l.attempt, l.interruptions, l.started, u.id as instance, u.host, u.stop_cause
        from unreaped u cross join lateral (
                select l.* from reeve.lease l where l.run_id > u.first_run and l.instance = u.id
                order by l.run_id limit $1::integer for update skip locked
        ) l
), reaped as (
        update reeve.instance i set reaped = true
        from unreaped u
        where i.id = u.id and u.stopped_at < clock_timestamp() - interval '1 minute'
                and not exists (select from reeve.lease l where l.run_id > u.first_run and l.instance = u.id)
), vanished as materialized (
        select l.run_id, l.run_key, l.job, l.attempt, l.interruptions, l.started, l.puller
        from reeve.lease l where l.expires_at < statement_timestamp()
        order by l.expires_at limit $1::integer for update skip locked
)
select o.run_id, o.run_key, o.job, o.attempt, o.interruptions, o.started, o.host, o.stop_cause, j.max_interruptions
from (
        select o.run_id, o.run_key, o.job, o.attempt, o.interruptions, o.started, o.host, o.stop_cause from orphan o
        union all
        select v.run_id, v.run_key, v.job, v.attempt, v.interruptions, v.started, v.puller, 'lease-expired' from vanished v
) o cross join lateral (select * from reeve.job j where j.id = o.job limit 1) j limit $1::integer
