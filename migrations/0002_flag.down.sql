-- Destructive: every flag goes; what was done to them stays in the history.
drop table reeve.flag;
