-- In the transaction of the migration itself. Rows: one.
-- $1 integer version  $2 text name  $3 text up script  $4 text down script or null  $5 text by whom  $6 text program version
insert into reeve.schema_migration (version, name, checksum, up_script, down_checksum, down_script, applied_by, program_version)
values ($1::integer, $2::text, encode(sha256(convert_to($3::text, 'UTF8')), 'hex'), $3::text,
        encode(sha256(convert_to($4::text, 'UTF8')), 'hex'), $4::text, $5::text, $6::text)
