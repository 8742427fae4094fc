-- The key of a hash, if it is good now. Locks: none. Rows: 0 or 1. Index: api_key_hash_key. $1 text hash
select k.name, k.role, k.tenant, k.subject, k.act_for_subjects::text as acts, k.id::text
from reeve.api_key k
where k.hash = $1::text and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp())
