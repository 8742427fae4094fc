-- Makes a worker's instance row and stops its predecessors of the same name on this host, whose runs are then freed
-- like those of any stopped instance. Locks: the predecessors' rows. Rows: one. Index: instance_live.
-- $1 text host  $2 text name  $3 text boot id  $4 integer pid  $5 text version  $6 integer schema version
-- $7 text[] kinds  $8 text[] queues  $9 integer slots
with predecessor as (
        update reeve.instance i
        set state = 'stopped', stopped_at = clock_timestamp(), stop_cause = 'worker-died'
        where i.host = $1::text and i.name = $2::text and i.stopped_at is null
        returning i.id
), made as (
        insert into reeve.instance (host, name, boot_id, pid, version, schema_version, kinds, queues, slots)
        values ($1::text, $2::text, $3::text, $4::integer, $5::text, $6::integer, $7::text[], $8::text[], $9::integer)
        returning id
)
select m.id, (select count(*) from predecessor) as n_predecessors from made m
