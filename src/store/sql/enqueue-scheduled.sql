-- Makes the job of a kind's instant, unless another host did. Rows: one with its id, or none. Locks: the kind's row of
-- schedule, else as enqueue-batch. $1 text kind  $2 text instant  $3 text host
-- $4 boolean also of an instant before the last one
select e.job::text from (select reeve.enqueue_scheduled($1::text, $2::text::timestamptz, $3::text, $4::boolean) offset 0) e (job)
where e.job is not null
