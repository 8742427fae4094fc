-- The leases of an instance, to find after a reconnection those whose claim was committed but never answered.
-- Locks: none. Rows: <= its slots. Index: lease_pkey from the instance's first run. $1 bigint instance
select l.run_id, l.run_key
from reeve.instance i join reeve.lease l on l.run_id > i.first_run and l.instance = i.id
where i.id = $1::bigint
