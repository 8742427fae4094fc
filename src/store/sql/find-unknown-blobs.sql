-- Which of these blobs the database knows nothing of. Rows: <= their number. Index: blob_pkey, blob_ref_digest.
-- $1 text[] tenants  $2 text[] digests
select b.tenant, b.digest from unnest($1::text[], $2::text[]) b (tenant, digest)
where not exists (select from reeve.blob k where k.tenant = b.tenant and k.digest = b.digest)
        and not exists (select from reeve.blob_ref r where r.tenant = b.tenant and r.digest = b.digest)
