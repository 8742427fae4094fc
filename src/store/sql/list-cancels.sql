-- The runs of an instance that somebody wants to end. A request goes with its run. Locks: none. Rows: usually none.
-- Index: cancel_request_instance.
-- $1 bigint instance
select c.run_id from reeve.cancel_request c where c.instance = $1::bigint
