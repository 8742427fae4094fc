-- The kinds whose jobs are pulled. Locks: none. Rows: one for each. Index: none, the table is small.
select k.name, k.lease_usec from reeve.kind k where k.lease_usec is not null
