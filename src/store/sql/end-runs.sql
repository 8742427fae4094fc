-- Ends runs in one batch: the only way out of running but for children. A run whose id and key are not in lease any
-- more is stale, changes nothing and is not returned. What the worker decided by the handler's verdict and the job's
-- limits (core/retry.c) is the state: succeeded, failed, cancelled; scheduled (another attempt); ready (interrupted);
-- the last two become cancelled if somebody asked for it, which the lease row says to whoever deletes it.
-- Parents are told, keys and tokens given back, and what is more than an ordinary life goes into the history. A job that came back
-- because its handler cannot be started on a host (ready with an error code) is tried for as long as that lasts, so only
-- the first time of each attempt, host and code is written.
-- Locks: the parents' waiting rows in the order of ids; then the lease rows in the order of run ids. Rows: the runs that were ended.
-- Index: lease_pkey, key_job, progress_pkey, waiting_pkey, history_job. "between", not "=": an equality may be planned as a merge with
-- the whole index while the table is empty, and stays so when it is not; a range can only be a probe for each run.
-- $1 bigint[] run_id  $2 uuid[] run_key  $3 text[] state  $4 text[] cause  $5 smallint[] exit status  $6 smallint[] signal
-- $7 text[] error code  $8 text[] error message  $9 text[] result (JSON)  $10 text[] result blob  $11 bigint[] delay usec
-- $12 bigint[] cpu usec  $13 bigint[] max rss  $14 text[] unit  $15 text[] log  $16 boolean[] counts as an
-- interruption (false: as an attempt; null: as neither, for a drain or a claim that never ran)
-- $17 text host  $18 text actor
with input as materialized (
        select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::smallint[], $7::text[],
                $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[],
                $16::boolean[])
                as t (run_id, run_key, state, cause, exit_status, exit_signal, error_code, error_message, result,
                        result_blob, delay_usec, cpu_usec, max_rss, unit, log, interrupted)
        order by t.run_id
), locked as materialized (
        select reeve.lock_parents(array_agg(i.run_id)) from input i
), gone as materialized (
        delete from reeve.lease l using input i where l.run_id between i.run_id and i.run_id and l.run_key = i.run_key
                and (select count(*) from locked) > 0
        returning l.run_id, l.job, l.lane, l.flags, l.token, l.claimed_at, l.cancel_actor, l.cancel_reason,
                case when l.cancel_actor is not null and i.state in ('scheduled', 'ready') then 'cancelled' else i.state end
                        as state, i.cause, i.exit_status, i.exit_signal,
                i.error_code, i.error_message, i.result, i.result_blob, i.delay_usec, i.cpu_usec, i.max_rss, i.unit, i.log,
                (l.attempt + coalesce(not i.interrupted, false)::integer)::smallint as attempt,
                (l.interruptions + coalesce(i.interrupted, false)::integer)::smallint as interruptions
), asked as materialized (
        select reeve.forget_cancels(a.runs)
        from (select array_agg(g.run_id) as runs from gone g where g.cancel_actor is not null) a where a.runs is not null
), ended as (
        insert into reeve.done (job, state, claimed_at, run_id, attempt, interruptions, cause, exit_status, exit_signal,
                error_code, error_message, result, result_blob, host, unit, cpu_usec, max_rss, log, actor, reason)
        select g.job, g.state, g.claimed_at, g.run_id, g.attempt, g.interruptions, g.cause, g.exit_status, g.exit_signal,
                g.error_code, g.error_message, g.result::jsonb, g.result_blob, $17::text, g.unit, g.cpu_usec, g.max_rss,
                g.log, g.cancel_actor, g.cancel_reason
        from gone g
        where g.state in ('succeeded', 'failed', 'cancelled')
), again as (
        insert into reeve.scheduled (job, run_at, lane, attempt, interruptions, flags)
        select g.job, clock_timestamp() + g.delay_usec * interval '1 microsecond', g.lane, g.attempt, g.interruptions,
                g.flags
        from gone g where g.state = 'scheduled'
), back as (
        insert into reeve.ready (job, lane, attempt, interruptions, flags)
        select g.job, g.lane, g.attempt, g.interruptions, g.flags from gone g where g.state = 'ready'
), known as materialized (
        select g.run_id
        from gone g cross join lateral (
                select h.id from reeve.history h
                where h.job between g.job and g.job and h.event = 'not-run' and h.error_code = g.error_code
                        and h.host = $17::text and h.attempt = g.attempt
                limit 1
        ) h
        where g.state = 'ready' and g.error_code is not null
), told as (
        insert into reeve.history (job, event, from_state, to_state, run_id, attempt, interruptions, cause, exit_status,
                exit_signal, error_code, error_message, host, unit, log, actor, reason)
        select g.job, case when g.state = 'scheduled' then 'retry' when g.state = 'ready' and g.error_code is not null then 'not-run'
                when g.state = 'ready' then 'interrupt' when g.state = 'cancelled' then 'cancel' else 'fail' end, 'running', g.state, g.run_id, g.attempt, g.interruptions, g.cause, g.exit_status,
                g.exit_signal, g.error_code, g.error_message, $17::text, g.unit, g.log, coalesce(g.cancel_actor, $18::text),
                g.cancel_reason
        from gone g
        where g.state <> 'succeeded' and g.run_id not in (select k.run_id from known k)
), free as materialized (
        select k.place from gone g cross join lateral (
                select k.ctid as place from reeve.key k where k.job = g.job and k.scope = 'unique' limit 1
        ) k
        where g.flags & 2 <> 0 and g.state in ('succeeded', 'failed', 'cancelled')
), freed as (
        delete from reeve.key k using free f where k.ctid = f.place
), cleared as (
        delete from reeve.progress p using gone g where p.job between g.job and g.job
), parents as materialized (
        select array_agg(j.parent) as ids
        from gone g cross join lateral (select j.parent from reeve.job j where j.id = g.job limit 1) j
        where g.flags & 4 <> 0 and g.state in ('succeeded', 'failed', 'cancelled')
), parents_told as materialized (
        select reeve.children_ended(p.ids) from parents p where p.ids is not null
), tokens as materialized (
        select array_agg(distinct g.token) as held from gone g where g.token is not null
), unblocked as materialized (
        select reeve.unblock(t.held) from tokens t where t.held is not null
)
select g.run_id from gone g where (select count(*) from parents_told) >= 0 and (select count(*) from asked) >= 0
        and (select count(*) from unblocked) >= 0
