-- Forgets blobs that no job has named for so long; their files may go then, not before. Rows: one for each. Locks: those
-- rows. Index: blob_orphan, blob_ref_digest. $1 text for how long (interval)  $2 integer most
delete from reeve.blob b
where b.ctid = any (array(
                select o.ctid from reeve.blob o where o.orphan_since < clock_timestamp() - $1::interval
                order by o.orphan_since limit $2::integer for update skip locked))
        and not exists (select from reeve.blob_ref r where r.tenant = b.tenant and r.digest = b.digest)
returning b.tenant, b.digest
