-- Gives a run that is pulled more time; no row if it is not its puller's any more. Locks: the lease row. Rows: 0 or 1.
-- Index: lease_pkey.
-- $1 bigint run_id  $2 uuid run_key  $3 bigint usec from now (null: as its kind says)
update reeve.lease l set expires_at = clock_timestamp() + interval '1 microsecond' * coalesce($3::bigint, (
        select k.lease_usec from reeve.job j join reeve.kind k on k.name = j.kind where j.id = l.job), 60000000)
where l.run_id = $1::bigint and l.run_key = $2::uuid and l.expires_at is not null
returning (select j.tenant from reeve.job j where j.id = l.job), l.job::text, (extract(epoch from l.expires_at) * 1000000)::bigint::text,
        (l.cancel_actor is not null)::text, coalesce(l.cancel_reason, '')
