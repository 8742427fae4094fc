/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What json_check() takes must be taken by json-c's strict parser, by json_parse(), and come out of
 * the writer as JSON again; what json_check() refuses json_parse() refuses at the same place. */
#include <json-c/json.h>

#include "fuzz.h"
#include "json-reader.h"
#include "json-writer.h"

#define DEPTH 20U

static void write_value(JsonWriter *w, const char *name, const JsonValue *v)
{
        const JsonValue *c;
        const char *s;
        size_t size;

        switch (json_value_type(v)) {
        case JSON_OBJECT:
        case JSON_ARRAY:
                if (json_value_is(v, JSON_OBJECT))
                        json_open_object(w, name);
                else
                        json_open_array(w, name);
                for (c = json_value_first(v, &s); c; c = json_value_next(v, c, &s))
                        write_value(w, s, c);
                json_close(w);
                break;
        case JSON_STRING:
                assert(json_value_string(v, &s) == 0);
                json_put_string(w, name, s);
                break;
        default:
                s = json_value_text(v, &size);
                json_put_raw(w, name, s, size);
        }
}

static void check_against_json_c(const char *text, size_t size)
{
        struct json_tokener *tok = json_tokener_new_ex((int) DEPTH + 2);
        struct json_object *o;
        char *copy = calloc(1, size + 1);

        assert(tok && copy);
        memcpy(copy, text, size);
        json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tok, copy, (int) size + 1); /* with the NUL: it ends a scalar */
        assert(json_tokener_get_error(tok) == json_tokener_success);
        json_object_put(o);
        json_tokener_free(tok);
        free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *) data;
        _cleanup_(json_document_freep) JsonDocument *d = NULL, *again = NULL;
        _cleanup_(strbuf_done) StrBuf first = {}, second = {};
        JsonError checked = { 0 }, parsed = { 0 };
        JsonWriter w;
        int r;

        r = json_check(text, size, DEPTH, &checked);
        assert(json_parse(text, size, DEPTH, &d, &parsed) == r);
        assert(checked.offset == parsed.offset && streq(checked.text, parsed.text));
        if (r < 0) {
                assert(r == -EBADMSG && checked.offset <= size && checked.line > 0 &&
                        checked.text[0]);
                return 0;
        }

        check_against_json_c(text, size);

        w = json_writer(&first);
        write_value(&w, NULL, json_document_root(d));
        assert(json_writer_end(&w) == 0);
        assert(json_parse(first.data, first.len, DEPTH, &again, NULL) == 0);
        w = json_writer(&second);
        write_value(&w, NULL, json_document_root(again));
        assert(json_writer_end(&w) == 0);
        assert(streq(first.data, second.data));
        return 0;
}
