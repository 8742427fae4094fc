-- Cancels a job if the caller may see it. Rows: one: cancelled, cancelling, finished or not-found. Locks: see the
-- function. $1 uuid  $2 text tenant or null (any)  $3 text subject or null (any)  $4 text actor  $5 text reason or null
select coalesce((
        select reeve.cancel_job(j.id, $4::text, $5::text)
        from (select * from reeve.job x where x.id = $1::uuid limit 1) j
        where j.tenant = coalesce($2::text, j.tenant) and ($3::text is null or j.subject = $3::text)), 'not-found')
