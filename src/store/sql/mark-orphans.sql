-- Says of blobs since when no job names them. Rows: one, how many were marked now. Locks: those rows. Reads all of blob
-- and blob_ref.
select reeve.mark_orphans() as n
