-- Takes back what 0006_pdf made.
drop function reeve_systems.pdf_take_document(uuid, text, text, jsonb, text, text);
drop function reeve_systems.pdf_chunks(uuid);
drop schema reeve_systems;
