-- All keys as a JSON array, without what they are. Locks: none. Rows: one. Index: none, the table is small.
select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', k.id, 'name', k.name, 'role', k.role,
        'tenant', coalesce(k.tenant, '*'), 'subject', k.subject, 'act_for_subjects', k.act_for_subjects,
        'created_at', k.created_at, 'created_by', k.created_by, 'expires_at', k.expires_at,
        'revoked_at', k.revoked_at, 'revoked_by', k.revoked_by)) order by k.id), '[]')::text as keys
from reeve.api_key k
