-- Which of these jobs are of a subject, in the order of the ids. Locks: none. Rows: <= the ids.
-- Index: job's partition pkey, one probe for each id. $1 uuid[] ids  $2 text subject
select f.id from unnest($1::uuid[]) with ordinality i (id, ord)
cross join lateral (select j.id, j.subject from reeve.job j where j.id = i.id limit 1) f
where f.subject = $2::text
order by i.ord
