-- Ends a run that asked for children. Rows: one: their number, 0 if the run is stale. SQLSTATE 22023: a child was
-- refused, nothing changed. See the function. $1 bigint run_id  $2 uuid run_key  $3 jsonb children  $4 text actor
-- $5 integer at once (null: all)  $6 smallint progress from  $7 smallint progress to (null: none)
-- Who waits holds no token.
with held as materialized (
        select array_agg(l.token) as tokens from reeve.lease l
        where l.run_id between $1::bigint and $1::bigint and l.run_key = $2::uuid and l.token is not null
), spawned as materialized (
        select reeve.spawn_children($1::bigint, $2::uuid, $3::jsonb, $4::text, $5::integer, $6::smallint, $7::smallint) as n
        from held
), unblocked as materialized (
        select reeve.unblock(h.tokens) from held h, spawned s where s.n >= 0 and h.tokens is not null
)
select s.n from spawned s where (select count(*) from unblocked) >= 0
