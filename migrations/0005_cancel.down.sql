-- Takes back what 0005_cancel made.
drop function reeve.forget_cancels(bigint[]);
