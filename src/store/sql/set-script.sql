-- Hands over the text that run-script runs; gone with the transaction.
-- $1 text script
select set_config('reeve.script', $1::text, true)
