-- Destructive: which queues flags guard, and which operations there were, is forgotten; the history stays.
drop function reeve.advance_operation(bigint);
drop function reeve.start_rollback(text, text[], text, text, bigint);
drop function reeve.end_operation(bigint, text, text, text);
drop function reeve.count_live(text[], timestamptz, timestamptz, integer);
drop table reeve.operation;
drop table reeve.flag_queue;
