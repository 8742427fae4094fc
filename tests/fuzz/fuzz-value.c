/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One value, as it stands in a file, a query or a JSON string, given to every reader of values.
 * What is taken says the same when it is written and read again; what ends up in a unit's file
 * cannot begin a line of its own there. */
#include <inttypes.h>

#include "calendar.h"
#include "fuzz.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "time-util.h"
#include "uuid.h"
#include "words.h"

static void check_times(const char *text)
{
        char first[TIMESPAN_MAX], second[TIMESPAN_MAX], instant[RFC3339_MAX];
        usec_t usec, again;

        if (parse_timespan(text, &usec) == 0) {
                CHECK(strlen(format_timespan(first, usec)) < sizeof(first));
                CHECK(parse_timespan(first, &again) == 0 && again <= usec);
                CHECK(streq(format_timespan(second, again), first));
        }
        if (parse_rfc3339(text, &usec) == 0) {
                CHECK(strlen(format_rfc3339(instant, usec)) < sizeof(instant));
                CHECK(parse_rfc3339(instant, &again) == 0);
                CHECK(again == usec - usec % USEC_PER_MSEC);
        }
        if (calendar_is_valid(text)) {
                CHECK(!text[strcspn(text, "\r\n%\\\"'")]);
                (void) calendar_has_zone(text);
        }
}

static void check_numbers(const char *text)
{
        char again[32];
        uint64_t u, size, v;
        unsigned small;
        int64_t i, j;
        bool b;

        if (parse_u64(text, 0, UINT64_MAX, &u) == 0) {
                (void) snprintf(again, sizeof(again), "%" PRIu64, u);
                CHECK(parse_u64(again, u, u, &v) == 0 && v == u);
                CHECK(parse_size(text, &size) == 0 && size == u);
                CHECK((parse_unsigned(text, 0, UINT32_MAX, &small) == 0) == (u <= UINT32_MAX));
        }
        if (parse_i64(text, &i) == 0) {
                (void) snprintf(again, sizeof(again), "%" PRId64, i);
                CHECK(parse_i64(again, &j) == 0 && i == j);
        }
        (void) parse_size(text, &size);
        (void) parse_bool(text, &b);
}

static void check_names(const char *text)
{
        char first[UUID_TEXT_SIZE], second[UUID_TEXT_SIZE];
        Uuid id, again;

        if (name_is_valid(text)) {
                CHECK(*text && strlen(text) <= REEVE_NAME_MAX);
                CHECK(!strpbrk(text, "/@%\\\"' \t\r\n;") && *text != '.' && *text != '-');
        }
        if (uuid_parse(text, &id) == 0) {
                CHECK(uuid_parse(uuid_format(&id, first), &again) == 0);
                CHECK(streq(uuid_format(&again, second), first));
                CHECK(strlen(first) == strlen(text));
        }
}

/* A unit's specifiers are doubled. */
static void check_unit_text(const char *line)
{
        CHECK(!line[strcspn(line, "\r\n")]);
        for (const char *p = strchr(line, '%'); p; p = strchr(p + 2, '%'))
                CHECK(p[1] == '%');
}

static void check_words(const char *text)
{
        _cleanup_(words_freep) char **words = NULL, **again = NULL;
        _cleanup_(strbuf_done) StrBuf plain = {}, unit = {};

        if (words_parse(text, &words) < 0)
                return;
        words_quote(&plain, words, 0);
        words_quote(&unit, words, WORD_UNIT);
        check_unit_text(strbuf_str(&unit));
        CHECK(words_parse(strbuf_str(&plain), &again) == 0);
        CHECK(words_count(words) == words_count(again));
        for (size_t i = 0; words[i]; i++) {
                CHECK(streq(words[i], again[i]));
                CHECK(utf8_is_valid(words[i], strlen(words[i])));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = calloc(1, size + 1);
        size_t n = 0, len = 1;

        CHECK(text);
        if (size > 0)
                memcpy(text, data, size);
        for (; n < size && len > 0; n += len)
                len = utf8_sequence(text + n, size - n);
        CHECK(utf8_is_valid(text, size) == (len > 0));
        check_times(text);
        check_numbers(text);
        check_names(text);
        check_words(text);
        return 0;
}
