-- Takes back what 0011_pull made. Jobs that are being pulled are ready again, for who comes back to this schema.
do $$
declare
        l record;
begin
        for l in delete from reeve.lease x where x.expires_at is not null returning x.* loop
                perform reeve.forget_cancels(array[l.run_id]);
                insert into reeve.ready (job, lane, attempt, interruptions, flags)
                values (l.job, l.lane, l.attempt, l.interruptions, l.flags);
                insert into reeve.history (job, event, from_state, to_state, run_id, attempt, interruptions, cause, actor)
                values (l.job, 'interrupt', 'running', 'ready', l.run_id, l.attempt, l.interruptions, 'drained', session_user);
                if l.cancel_actor is not null then
                        perform reeve.cancel_job(l.job, l.cancel_actor, l.cancel_reason);
                end if;
        end loop;
end $$;
revoke execute on function reeve.forget_cancels(bigint[]) from reeve_api;
revoke usage on sequence reeve.ready_seq, reeve.run_seq from reeve_api;
revoke delete on reeve.key from reeve_api;
revoke update (digest, size, run_id) on reeve.blob_ref from reeve_api;
revoke insert, update, delete on reeve.progress from reeve_api;
revoke update (expires_at) on reeve.lease from reeve_api;
revoke insert, delete on reeve.lease, reeve.scheduled from reeve_api;
revoke insert, update, delete on reeve.ready from reeve_api;
alter table reeve.kind drop column lease_usec, drop column retry_max_usec, drop column retry_usec;
drop index reeve.lease_expires;
alter table reeve.lease drop column puller, drop column expires_at;
