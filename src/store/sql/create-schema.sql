-- The schema itself; the engine makes it together with reeve.schema_migration.
create schema if not exists reeve
