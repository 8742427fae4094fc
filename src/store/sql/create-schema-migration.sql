-- What was applied: both scripts as they were, so that any program can see what was done and take it back.
-- down_script null: nothing takes it back. Checksums are SHA-256 of the scripts, in hexadecimal.
create table reeve.schema_migration (
        version integer primary key check (version > 0),
        name text not null,
        checksum text not null,
        up_script text not null,
        down_checksum text,
        down_script text,
        applied_at timestamptz not null default clock_timestamp(),
        applied_by text not null,
        program_version text not null,
        check ((down_script is null) = (down_checksum is null))
)
