-- Many statements, but no transaction command: execute refuses them before anything of the script can stay. The script
-- does not stand in this text, so that the positions of errors are those in the script.
do 'begin execute current_setting(''reeve.script''); end'
