-- A page of jobs, newest first of a parent. At most 5000 entries of the index are looked at for one page, so that a filter that
-- matches little costs no more than one that matches much: a page may be short, or empty, and still have a cursor.
-- Locks: none. Rows: one: a JSON array, and the id to go on below (null: that was all).
-- Index: job_parent. $1 uuid below which  $2 uuid from which  $3 text tenant or null
-- $4 text kind or null  $5 text queue or null  $6 text state or null  $7 text subject or null  $8 integer most  $9 uuid parent
with page as materialized (
        select s.id
        from (
                select t.id as id from reeve.job t where t.parent = $9::uuid and t.id < $1::uuid and t.id >= $2::uuid order by t.id desc limit 5000
        ) s
        cross join lateral (select * from reeve.job x where x.id = s.id limit 1) j
        where j.tenant = coalesce($3::text, j.tenant) and j.kind = coalesce($4::text, j.kind)
                and j.queue = coalesce($5::text, j.queue) and ($7::text is null or j.subject = $7::text)
                and ($6::text is null or reeve.job_state(s.id) = $6::text)
        order by s.id desc limit $8::integer
)
select coalesce((
                select jsonb_agg(s.body - '{result,reason}'::text[] order by s.job desc)
                from reeve.job_statuses((select array_agg(p.id) from page p)) s
        ), '[]')::text,
        case when (select count(*) from page) >= $8::integer then (select p.id from page p order by p.id limit 1)
        else (
                select s.id from (
                        select t.id as id from reeve.job t where t.parent = $9::uuid and t.id < $1::uuid and t.id >= $2::uuid order by t.id desc limit 5000
                ) s
                offset 4999
        ) end as more
