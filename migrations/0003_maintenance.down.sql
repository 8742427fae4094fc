-- Takes back what 0003_maintenance made; results that expired and weeks that were dropped do not come back.
drop function reeve.mark_orphans();
drop function reeve.drop_week(timestamptz);
drop function reeve.forget_week(timestamptz, integer);
drop function reeve.oldest_week(timestamptz);
drop function reeve.expire_results(integer);
drop function reeve.is_over(uuid);
drop table reeve.late_result, reeve.expiry;
alter table reeve.blob drop column orphan_since;
