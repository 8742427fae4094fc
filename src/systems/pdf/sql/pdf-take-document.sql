-- Gives a document to a job that was made without one. Rows: one: the outcome. Locks: see the function.
-- $1 uuid  $2 text tenant or null (any)  $3 text subject or null (any)  $4 jsonb inputs  $5 text queue or null (the job's)
-- $6 text actor
select reeve_systems.pdf_take_document($1::uuid, $2::text, $3::text, $4::jsonb, $5::text, $6::text)
