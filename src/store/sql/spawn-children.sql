-- Ends a run that asked for children. Rows: one: their number, 0 if the run is stale. SQLSTATE 22023: a child was
-- refused, nothing changed. See the function. $1 bigint run_id  $2 uuid run_key  $3 jsonb children  $4 text actor
-- $5 integer at once (null: all)  $6 smallint progress from  $7 smallint progress to (null: none)
select reeve.spawn_children($1::bigint, $2::uuid, $3::jsonb, $4::text, $5::integer, $6::smallint, $7::smallint) as n
