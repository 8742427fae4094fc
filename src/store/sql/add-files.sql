-- Names the blobs of a run's output files and large result, and refers to them from its job. A stale run adds nothing;
-- a later run of the job replaces what an earlier one gave. Locks: the blob and blob_ref rows. Rows: none.
-- Index: lease_pkey; blob_pkey, blob_ref_pkey.
-- $1 bigint run_id  $2 uuid run_key  $3 text[] direction  $4 text[] name  $5 text[] digest  $6 bigint[] size
with run as materialized (
        select l.job, j.tenant from reeve.lease l join reeve.job j on j.id = l.job
        where l.run_id = $1::bigint and l.run_key = $2::uuid
), file as (
        select distinct on (f.direction, f.name) f.* from unnest($3::text[], $4::text[], $5::text[], $6::bigint[])
                as f (direction, name, digest, size)
), made as (
        insert into reeve.blob as k (tenant, digest, size)
        select distinct r.tenant, f.digest, f.size from run r, file f order by 1, 2
        on conflict (tenant, digest) do update set orphan_since = null where k.orphan_since is not null
)
insert into reeve.blob_ref as b (job, direction, name, tenant, digest, size, run_id)
select r.job, f.direction, f.name, r.tenant, f.digest, f.size, $1::bigint from run r, file f
on conflict (job, direction, name) do update
set digest = excluded.digest, size = excluded.size, run_id = excluded.run_id
