-- Which of these keys are good now. Locks: none. Rows: <= the keys. Index: api_key_pkey. $1 bigint[]
select k.id::text
from unnest($1::bigint[]) as i (id) cross join lateral (select * from reeve.api_key k where k.id = i.id limit 1) k
where k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp())
