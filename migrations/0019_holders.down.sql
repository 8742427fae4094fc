drop function reeve.register_instance(text, text, text, integer, text, integer, text[], text[], integer, text, text, bigint[], bigint[]);
alter table reeve.instance drop column machine, drop column process;
