-- Takes back what 0008_pdf_repair made.
drop function reeve_systems.pdf_terminate_stuck(interval, text);
drop function reeve_systems.pdf_reconcile(interval, text);
drop function reeve_systems.pdf_force_finalize(uuid, text);
drop function reeve_systems.pdf_retry_chunks(uuid, integer[], boolean, text, uuid);
drop function reeve_systems.pdf_redo(uuid, uuid, integer[], text);
drop function reeve_systems.pdf_add_children(uuid, integer[], text);
