/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "config-load.h"
#include "json-reader.h"
#include "json-writer.h"
#include "log.h"
#include "schema.h"

/* What "reevectl doctor" wants to know of the database, as one line of JSON. It gathers facts and
 * judges nothing:
 *
 * error         why the database cannot be asked; then there is nothing else
 * embedded      Database= is this host's own server
 * server        what it is, as reeve-migrate has it
 * facts         sql/diagnose-server.sql
 * skew_usec     how far the server's clock is ahead of ours; round_trip_usec bounds the error
 * faults        sql/find-schema-faults.sql
 * schema        sql/diagnose-schema.sql, or schema_error */

#define JSON_DEPTH 8U

static int tell(const StrBuf *b)
{
        puts(strbuf_str(b));
        return fflush(stdout) == 0 ? 0 : -EIO;
}

static int tell_error(const char *text, bool embedded)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        int r;

        json_open_object(&w, NULL);
        json_put_string(&w, "error", text);
        json_put_bool(&w, "embedded", embedded);
        json_close(&w);
        r = json_writer_end(&w);
        return r < 0 ? r : tell(&b);
}

static void put_server(JsonWriter *w, const SchemaServer *server)
{
        json_open_object(w, "server");
        json_put_string(w, "version", server->version);
        json_put_int(w, "version_num", server->version_num);
        json_put_string(w, "database", server->database);
        json_put_string(w, "encoding", server->encoding);
        json_put_bool(w, "standby", server->standby);
        json_put_bool(w, "read_only", server->read_only);
        json_put_bool(w, "registry", server->registry);
        json_close(w);
}

static int put_faults(JsonWriter *w, Schema *s)
{
        _cleanup_(schema_faults_done) SchemaFaults faults = {};
        int r = schema_find_faults(s, &faults);

        if (r != SCHEMA_DONE)
                return r;
        json_open_array(w, "faults");
        for (size_t i = 0; i < faults.n; i++) {
                json_open_object(w, NULL);
                json_put_string(w, "level", faults.faults[i].level);
                json_put_string(w, "object", faults.faults[i].object);
                json_put_string(w, "text", faults.faults[i].text);
                json_close(w);
        }
        json_close(w);
        return SCHEMA_DONE;
}

/* The server's clock against ours, in the middle of the statement. */
static int put_facts(JsonWriter *w, Schema *s)
{
        _cleanup_(freep) char *facts = NULL;
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        usec_t before = now_usec(CLOCK_REALTIME), after;
        uint64_t there = 0;
        int r = schema_diagnose_server(s, &facts);

        if (r != SCHEMA_DONE)
                return r;
        after = now_usec(CLOCK_REALTIME);
        if (json_parse(facts, strlen(facts), JSON_DEPTH, &d, NULL) < 0)
                return SCHEMA_NO_MEMORY;
        (void) json_get_uint64(json_document_root(d), "now_usec", 0, INT64_MAX, &there, NULL);
        json_put_raw(w, "facts", facts, strlen(facts));
        json_put_int(w, "skew_usec", (int64_t) there - (int64_t) (before + (after - before) / 2));
        json_put_uint(w, "round_trip_usec", after - before);
        return SCHEMA_DONE;
}

static int put_schema(JsonWriter *w, Schema *s)
{
        _cleanup_(freep) char *facts = NULL;
        int r = schema_diagnose(s, &facts);

        if (r == SCHEMA_REFUSED || r == SCHEMA_LOCKED)
                json_put_string(w, "schema_error", schema_error(s)->text);
        else if (r == SCHEMA_DONE)
                json_put_raw(w, "schema", facts, strlen(facts));
        return r == SCHEMA_REFUSED || r == SCHEMA_LOCKED ? SCHEMA_DONE : r;
}

static int look(Schema *s, bool embedded)
{
        _cleanup_(schema_server_done) SchemaServer server = {};
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        int r = schema_describe(s, &server);

        json_open_object(&w, NULL);
        json_put_bool(&w, "embedded", embedded);
        if (r == SCHEMA_DONE)
                put_server(&w, &server);
        if (r == SCHEMA_DONE)
                r = put_faults(&w, s);
        if (r == SCHEMA_DONE)
                r = put_facts(&w, s);
        if (r == SCHEMA_DONE && server.registry)
                r = put_schema(&w, s);
        json_close(&w);
        if (json_writer_end(&w) < 0 || r == SCHEMA_NO_MEMORY)
                return -ENOMEM;
        return r == SCHEMA_DONE ? tell(&b) : tell_error(schema_error(s)->text, embedded);
}

static int run(const char *root)
{
        _cleanup_(schema_freep) Schema *s = NULL;
        _cleanup_(settings_done) Settings settings = {};
        _cleanup_(freep) char *text = NULL;
        SchemaConfig config = { .default_user = "reeve_owner", .application_name = "reeve-doctor" };
        bool embedded;
        int r = settings_load(root, NULL, NULL, &settings);

        if (r == -ENOMEM)
                return r;
        if (r < 0 && r != -EINVAL) /* which one is not known */
                return tell_error("reeve.conf cannot be read", false);
        /* -EINVAL, a wrong value: reevectl tells; its default stands. */
        config.conninfo = settings.database;
        embedded = settings_is_embedded(&settings);
        r = schema_connect(&config, &s, &text);
        if (r == SCHEMA_NO_MEMORY)
                return -ENOMEM;
        return r == SCHEMA_DONE ? look(s, embedded) : tell_error(text, embedded);
}

static const char HELP[] =
        "reeve-doctor [--root=DIR] prints what \"reevectl doctor\" asks of the database.";

int main(int argc, char *argv[])
{
        int r;

        log_setup("reeve-doctor");
        if (argc == 2 && (streq(argv[1], "--help") || streq(argv[1], "-h"))) {
                puts(HELP);
                return EXIT_SUCCESS;
        }
        if (argc > 2 || (argc == 2 && strncmp(argv[1], "--root=", 7) != 0)) {
                log_error("%s", HELP);
                return 2;
        }
        r = run(argc == 2 ? argv[1] + 7 : NULL);
        if (r < 0)
                (void) log_error_errno(r, "Cannot look at the database: %m");
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
