-- Takes back what 0004_schedule made. Instants that were seen to are forgotten.
drop function reeve.enqueue_scheduled(text, timestamptz, text);
drop table reeve.schedule;
