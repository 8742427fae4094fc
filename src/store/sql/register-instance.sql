-- Makes a worker's instance row, unless others of its name on a host of that name are left. Locks: until commit one for the name; the
-- rows of those that it knows to be gone, which are stopped: their runs are then freed like those of any stopped instance. Rows: the
-- new one, or the others. Index: instance_live.
-- $1 text host  $2 text name  $3 text boot id  $4 integer pid  $5 text version  $6 integer schema version
-- $7 text[] kinds  $8 text[] queues  $9 integer slots  $10 text process  $11 text machine
-- $12 bigint[] instances that are gone  $13 bigint[] their beats
select r.id, r.made, r.beat, r.age_usec, r.other_pid, r.other_process, r.other_machine
from reeve.register_instance($1::text, $2::text, $3::text, $4::integer, $5::text, $6::integer, $7::text[], $8::text[], $9::integer,
        $10::text, $11::text, $12::bigint[], $13::bigint[]) r
