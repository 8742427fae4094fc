-- Makes a flag, notes who did, tells the listeners. Rows: 0 (the key is taken, by an archived flag too) or one: its
-- version, or -1 if there are $13 flags. Locks: none. Index: flag_pkey.
-- $1 text key  $2 text description or null  $3 boolean enabled  $4 integer thousandths of a percent  $5 text bucketing
-- $6 text seed or null (the key)  $7 text[] allow  $8 jsonb rules  $9 jsonb value on  $10 jsonb value off
-- $11 text on stale  $12 text actor  $13 bigint most flags  $14 text reason or null
with made as (
        insert into reeve.flag (key, description, enabled, percent, bucketing, seed, allow, rules, value_on, value_off,
                on_stale, updated_by)
        select $1::text, $2::text, $3::boolean, $4::integer, $5::text, $6::text, $7::text[], $8::jsonb, $9::jsonb,
                $10::jsonb, $11::text, $12::text
        where (select count(*) from reeve.flag) < $13::bigint
        on conflict (key) do nothing
        returning *
), noted as (
        insert into reeve.history (object, event, actor, reason, detail)
        select 'flag/' || m.key, 'create', m.updated_by, $14::text,
                jsonb_build_object('version', m.version, 'enabled', m.enabled, 'percent', trim_scale(m.percent / 1000.0))
                || jsonb_strip_nulls(jsonb_build_object('bucketing', m.bucketing, 'seed', m.seed, 'allow', to_jsonb(m.allow),
                        'rules', m.rules, 'on_stale', m.on_stale))
        from made m
)
select m.version, pg_notify('reeve_flag', '') is null as told from made m
union all
select -1, null where (select count(*) from reeve.flag) >= $13::bigint
        and not exists (select from reeve.flag f where f.key = $1::text)
