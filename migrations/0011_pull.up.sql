-- Programs elsewhere that fetch their jobs over HTTP.

-- When a run that was pulled is taken from its puller, and who that is. Null: a worker instance's, which has heartbeats.
alter table reeve.lease add column expires_at timestamptz;
alter table reeve.lease add column puller text;
create index lease_expires on reeve.lease (expires_at) where expires_at is not null;

-- What the API needs to decide on the end of such a run. Null: published by an earlier version.
alter table reeve.kind add column retry_usec bigint check (retry_usec >= 0);
alter table reeve.kind add column retry_max_usec bigint check (retry_max_usec >= 0);
alter table reeve.kind add column lease_usec bigint check (lease_usec > 0); -- null: its jobs are not pulled

-- The API claims and ends such runs. It has no instance.
grant insert, update, delete on reeve.ready to reeve_api; -- update: for row locks
grant insert, delete on reeve.lease, reeve.scheduled to reeve_api;
grant update (expires_at) on reeve.lease to reeve_api;
grant insert, update, delete on reeve.progress to reeve_api;
grant update (digest, size, run_id) on reeve.blob_ref to reeve_api;
grant delete on reeve.key to reeve_api;
grant usage on sequence reeve.ready_seq, reeve.run_seq to reeve_api;
grant execute on function reeve.forget_cancels(bigint[]) to reeve_api;
