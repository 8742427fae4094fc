-- Feature flags: one row each. Who changed one, when and why is in reeve.history (object "flag/KEY"), written by the
-- statement that changes the flag, which also notifies channel reeve_flag.

create table reeve.flag (
        key text primary key check (key ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        description text check (length(description) <= 500),
        enabled boolean not null default false,
        percent integer not null default 0 check (percent between 0 and 100000), -- thousandths of a percent
        bucketing text not null default 'murmur3' check (bucketing in ('murmur3', 'modulo')),
        seed text check (length(seed) between 1 and 64), -- murmur3: what is hashed before the subject; null: the key
        allow text[] not null default '{}' check (cardinality(allow) <= 1000 and array_position(allow, null) is null),
        rules jsonb not null default '[]' check (jsonb_typeof(rules) = 'array' and octet_length(rules::text) <= 65536),
        value_on jsonb not null default 'true' check (octet_length(value_on::text) <= 4096),
        value_off jsonb not null default 'false' check (octet_length(value_off::text) <= 4096),
        on_stale text not null default 'off' check (on_stale in ('keep', 'on', 'off')), -- after StaleSec= without a database
        version bigint not null default 1, -- one more with each change
        created_at timestamptz not null default clock_timestamp(),
        updated_at timestamptz not null default clock_timestamp(),
        updated_by text not null,
        archived_at timestamptz -- not evaluated any more; the key stays taken
);

grant select on reeve.flag to reeve_api, reeve_worker;
