-- Every program checks the schema's version before it does anything else.
grant usage on schema reeve to reeve_api, reeve_worker
