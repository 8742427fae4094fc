-- Looks after jobs that a limit blocks: see the function. Locks: one for who does it, skipping; the blocked rows moved, skipping
-- others'. Rows: one: how many are ready now, and where to go on (null: that was all). Index: blocked_line.
-- $1 text token behind which to begin  $2 integer how many tokens
select u.n, u.last from reeve.unblock_next($1::text, $2::integer) u
