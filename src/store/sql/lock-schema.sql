-- One migration at a time in a database; waits as long as lock_timeout says, ends with the transaction.
select pg_advisory_xact_lock(6010733017283926834)
