-- Ends an instance: by id (its own clean stop) or by host and name (systemd saw it end; the cause is systemd's).
-- Locks: its row. Rows: the instances stopped. Index: instance_pkey or instance_live.
-- $1 bigint id or null  $2 text host  $3 text name  $4 text cause
update reeve.instance i
set state = 'stopped', stopped_at = clock_timestamp(), stop_cause = $4::text, busy = 0
where i.stopped_at is null
        and case when $1::bigint is null then i.host = $2::text and i.name = $3::text else i.id = $1::bigint end
returning i.id
