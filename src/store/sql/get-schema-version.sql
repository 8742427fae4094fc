-- The newest migration applied. 42P01 or 3F000: there is no schema yet. Rows: one. Locks: none.
select coalesce(max(m.version), 0) as version from reeve.schema_migration m
