-- In the transaction of the down script. Rows: one.
-- $1 integer version
delete from reeve.schema_migration m where m.version = $1::integer
