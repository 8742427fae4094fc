-- Ends what is left of a document's chunks. Rows: one: how many, or null if it waits for none. Locks: see the function.
-- $1 uuid  $2 text actor
select reeve_systems.pdf_force_finalize($1::uuid, $2::text)::text
