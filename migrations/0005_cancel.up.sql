-- Requests to end runs go with the runs.

-- Forgets the requests to end these runs. A function, because a request may have been committed while the statement that
-- ends the run waited for its lease row: only a statement that begins after that wait sees it.
create function reeve.forget_cancels(runs bigint[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
        delete from reeve.cancel_request c where c.run_id = any (runs);
end;

revoke all on function reeve.forget_cancels(bigint[]) from public;
grant execute on function reeve.forget_cancels(bigint[]) to reeve_worker;
