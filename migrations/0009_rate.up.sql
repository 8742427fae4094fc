-- How often a key has used a route that has a limit (RouteRate=, Rate=). One row each, for all processes and hosts together; a
-- crash of the server forgets them.
create unlogged table reeve.rate (
        key bigint not null, -- reeve.api_key
        route text not null, -- "POST /api/v1/process-pdf-async"
        since timestamptz not null, -- the window's begin: its first request
        n integer not null,
        primary key (key, route)
) with (fillfactor = 50);

grant select, insert, update on reeve.rate to reeve_api;
