-- Everything applied, oldest first. intact: the stored scripts are those that the checksums were made of.
select m.version, m.name, m.checksum, m.up_script, m.down_script,
        to_char(m.applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as applied_at, m.applied_by,
        m.program_version,
        m.checksum = encode(sha256(convert_to(m.up_script, 'UTF8')), 'hex')
                and m.down_checksum is not distinct from encode(sha256(convert_to(m.down_script, 'UTF8')), 'hex') as intact
from reeve.schema_migration m
order by m.version
