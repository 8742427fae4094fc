-- Every program checks the schema's version before it does anything else.
grant select on reeve.schema_migration to reeve_api, reeve_worker
