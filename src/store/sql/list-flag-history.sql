-- What was done to a flag, newest first, as a JSON array. Locks: none. Rows: one. Index: history_object.
-- $1 text key  $2 integer most
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('at', h.at, 'event', h.event, 'actor', h.actor,
        'reason', h.reason, 'detail', h.detail)) order by h.id desc), '[]')::text as history
from (
        select x.* from reeve.history x where x.object = 'flag/' || $1::text order by x.id desc limit $2::integer
) h
