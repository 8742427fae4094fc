-- What holds for the transaction of a migration, whatever the role, the database or a pooler has set. A script sees no
-- schema but what it names, so that a table of the same name elsewhere is never taken for Reeve's.
-- Whoever is killed in the middle leaves no statement running that holds locks.
-- $1 text lock_timeout
select set_config('lock_timeout', $1::text, true), set_config('statement_timeout', '0', true),
        set_config('idle_in_transaction_session_timeout', '0', true), set_config('search_path', 'pg_catalog, pg_temp', true),
        set_config('client_min_messages', 'warning', true), set_config('check_function_bodies', 'on', true),
        set_config('client_connection_check_interval', '1s', true)
