-- Takes a kind out of use: see the function. Rows: one. Locks: the kind's row. Index: none, all that is live is read.
-- $1 text name  $2 text actor  $3 text reason or null
select r.outcome, r.detail from reeve.retire_kind($1::text, $2::text, $3::text) r
