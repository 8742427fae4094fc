-- The runs of an instance that somebody wants to end. Requests that were answered are deleted with the run; one whose
-- run has ended otherwise is cleared here. Locks: cleared rows. Rows: usually none. Index: cancel_request_instance.
-- $1 bigint instance
with stale as (
        delete from reeve.cancel_request c
        where c.instance = $1::bigint and not exists (select from reeve.lease l where l.run_id between c.run_id and c.run_id)
)
select c.run_id from reeve.cancel_request c join reeve.lease l on l.run_id between c.run_id and c.run_id where c.instance = $1::bigint
