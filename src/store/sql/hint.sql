-- Tells whoever listens that a look is worth while. Its own small transaction: a notification serialises commits.
select pg_notify('reeve', '') is null as told
