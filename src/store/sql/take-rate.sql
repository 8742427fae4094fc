-- Counts a request of a key by a route, within the window that its first request begins; one above the limit is counted once
-- only. Rows: one: how many there were, and microseconds until the window ends. Locks: the row. Index: rate_pkey.
-- $1 bigint key  $2 text route  $3 integer limit  $4 bigint microseconds of the window
insert into reeve.rate as r (key, route, since, n) values ($1::bigint, $2::text, now(), 1)
on conflict (key, route) do update
set since = case when now() between r.since and r.since + make_interval(secs => $4::bigint / 1000000.0) then r.since else now() end,
        n = case when now() between r.since and r.since + make_interval(secs => $4::bigint / 1000000.0)
                then least(r.n, $3::integer) + 1 else 1 end
returning r.n, (extract(epoch from r.since + make_interval(secs => $4::bigint / 1000000.0) - now()) * 1000000)::bigint
