-- Notes that blobs are there, before a job names them. Locks: the new rows, in order. Rows: none. Index: blob_pkey.
-- $1 text[] tenants  $2 text[] digests  $3 bigint[] sizes
insert into reeve.blob (tenant, digest, size)
select distinct b.tenant, b.digest, b.size from unnest($1::text[], $2::text[], $3::bigint[]) b (tenant, digest, size)
order by b.tenant, b.digest
on conflict do nothing
