-- The living worker instances as a JSON array. Locks: none. Rows: one. Index: instance_live.
select coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'host', i.host, 'name', i.name, 'pid', i.pid,
        'version', i.version, 'schema_version', i.schema_version, 'state', i.state, 'slots', i.slots, 'busy', i.busy,
        'jobs_done', i.jobs_done, 'kinds', i.kinds, 'queues', i.queues, 'started_at', i.started_at,
        'heartbeat_at', i.beat_at, 'faults', i.faults) order by i.host, i.name, i.id), '[]')::text
from reeve.instance i where i.stopped_at is null
