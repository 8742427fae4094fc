-- Instances that need more than a schema version and live: a heartbeat within two leases. Rows: few.
-- $1 integer version
select format('%s on %s (pid %s, version %s, schema %s, heartbeat %s s ago)', i.name, i.host, i.pid, i.version,
        i.schema_version, greatest(0, round(extract(epoch from clock_timestamp() - i.beat_at)))) as line
from reeve.instance i
where i.stopped_at is null and i.schema_version > $1::integer and i.beat_at > clock_timestamp() - interval '1 minute'
order by i.host, i.name, i.id
