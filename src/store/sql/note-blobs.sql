-- Notes that blobs are there, before a job names them: what was about to be removed is not, then. Locks: the new rows, in order. Rows: none. Index: blob_pkey.
-- $1 text[] tenants  $2 text[] digests  $3 bigint[] sizes
insert into reeve.blob as b (tenant, digest, size)
select distinct n.tenant, n.digest, n.size from unnest($1::text[], $2::text[], $3::bigint[]) n (tenant, digest, size)
order by n.tenant, n.digest
on conflict (tenant, digest) do update set orphan_since = null where b.orphan_since is not null
