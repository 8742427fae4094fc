-- Takes back what 0009_rate made.
drop table reeve.rate;
