-- Ends a run that asked for children. Rows: one: their number, 0 if the run is stale. SQLSTATE 22023: a child was
-- refused, nothing changed. See the function. $1 bigint run_id  $2 uuid run_key  $3 jsonb children  $4 text actor
select reeve.spawn_children($1::bigint, $2::uuid, $3::jsonb, $4::text) as n
