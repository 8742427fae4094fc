-- Claims jobs of kinds that may have limits: as claim-jobs.sql with the same parameters, and see the function. Locks: the ready rows
-- looked at, skipping those that another session holds; one for each token looked at, until the end of the transaction.
-- Rows: <= $4. Index: ready_pkey by (lane, seq); lease_token, at most as many entries as a token's limit.
-- $1 bigint[] lanes, highest priority first   $2 bigint[] cursors   $3 smallint[] priorities   $4 integer how many
-- $5 bigint instance                          $6 text[] kinds that the instance can run
-- $7 bigint usec until the lease ends by itself and $8 text who pulls: null for a worker, which has heartbeats
select c.run_id, c.run_key, c.lane, c.seq, c.id, c.kind, c.queue, c.priority, c.tenant, c.subject, c.attempt, c.interruptions, c.flags,
        c.max_attempts, c.max_interruptions, c.timeout_usec, c.payload::text, c.payload_blob, c.inputs::text, c.late,
        c.kind = any ($6::text[]) as known
from reeve.claim_limited($1::bigint[], $2::bigint[], $3::smallint[], $4::integer, $5::bigint, $7::bigint, $8::text) c
order by c.priority desc, c.seq
