/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>

#include "ctl-text.h"
#include "ctl-verbs.h"
#include "event-reader.h"
#include "fd-util.h"
#include "http-client.h"
#include "test.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static const char *man_dir;

/* Reads a response in pieces of that size; each split must give the same. */
static int feed(HttpReply *r, const char *text, size_t size, size_t piece, size_t max)
{
        int e = 0;

        *r = http_reply(max);
        for (size_t at = 0; at < size && e == 0; at += piece)
                e = http_reply_feed(r, text + at, size - at < piece ? size - at : piece);
        return e;
}

static void check_reply(const char *text, int want, unsigned status, const char *body)
{
        for (size_t piece = 1; piece <= strlen(text); piece += piece < 8 ? 1 : 37) {
                _cleanup_(http_reply_done) HttpReply r = {};

                assert_int_equal(feed(&r, text, strlen(text), piece, 1000), want);
                if (want < 0) {
                        assert_non_null(r.wrong);
                        continue;
                }
                assert_int_equal(r.status, status);
                assert_string_equal(strbuf_str(&r.body), body);
        }
}

static void test_replies_taken(void **state)
{
        check_reply(OK_HEAD "Content-Length: 2\r\n\r\n{}", 1, 200, "{}");
        check_reply(OK_HEAD "Content-Length: 0\r\n\r\n", 1, 200, "");
        check_reply("HTTP/1.0 404 \r\ncontent-length:  2 \t\r\n\r\n{}", 1, 404, "{}");
        check_reply("HTTP/1.1 204 No Content\r\n\r\n", 1, 204, "");
        check_reply(
                "HTTP/1.1 100 Continue\r\n\r\n" OK_HEAD "Content-Length: 1\r\n\r\nx", 1, 200, "x");
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n"
                            "0\r\nTrailer: x\r\n\r\n",
                1, 200, "abc0123456789");
        check_reply(OK_HEAD "Content-Length: 5\r\n\r\nabc", 0, 200, "abc");
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0, 200, "abc");
}

static void test_replies_refused(void **state)
{
        check_reply("HTTP/2 200 OK\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply("SSH-2.0-OpenSSH_9.2\r\n", -EBADMSG, 0, NULL);
        check_reply("HTTP/1.1 20 OK\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply("HTTP/1.1 2000 OK\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply("HTTP/1.1 101 Switching\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "\r\n", -EBADMSG, 0, NULL); /* until the end of the connection */
        check_reply(OK_HEAD "Content-Length: 1\nx", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: -1\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: +1\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: 99999999999999999999\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: 1, 1\r\n\r\nx", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD " folded: x\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Name : x\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD ": x\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "A: b\rc\r\n\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", -EBADMSG, 0, NULL);
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0000000000000001\r\n", -EBADMSG, 0,
                NULL);
        check_reply(OK_HEAD "Content-Length: 1001\r\n\r\n", -EFBIG, 0, NULL);
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3e8\r\n", 0, 200, "");
        check_reply(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", -EFBIG, 0, NULL);
}

static void test_what_follows_is_refused(void **state)
{
        static const char text[] = OK_HEAD "Content-Length: 1\r\n\r\nxy";
        _cleanup_(http_reply_done) HttpReply r = {};

        assert_int_equal(feed(&r, text, strlen(text), strlen(text), 1000), -EBADMSG);
        assert_string_equal(r.wrong, "something follows it");
}

/* A head, or interim responses, without end are ended. */
static void test_endless_heads_are_refused(void **state)
{
        static const char *const texts[] = { "HTTP/1.1 100 Continue\r\n\r\n", "X",
                OK_HEAD "A: b\r\n" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(http_reply_done) HttpReply r = http_reply(1000);
                size_t n = 0;
                int e = 0;

                for (; e == 0 && n < 2 * HTTP_REPLY_HEAD_MAX; n += strlen(texts[i]))
                        e = http_reply_feed(&r, texts[i], strlen(texts[i]));
                assert_true(e == -EFBIG || e == -EBADMSG);
        }
}

static void test_url(void **state)
{
        static const char *const good[][3] = {
                { "http://127.0.0.1:8380", "127.0.0.1", "8380" },
                { "http://host.example/", "host.example", "80" },
                { "http://[::1]:8380/", "::1", "8380" },
        };
        static const char *const bad[] = { "", "ftp://x", "https://x", "http://", "http://:1",
                "http://x:", "http://x:0", "http://x:65536", "http://x:8a", "http://x/api",
                "http://u@x", "http://[::1", "http://[]:1", "http://x y", "http://x?y" };
        HttpClient c = {};

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(http_client_set_url(&c, good[i][0]), 0);
                assert_string_equal(c.host, good[i][1]);
                assert_string_equal(c.port, good[i][2]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                c.wrong[0] = '\0';
                if (http_client_set_url(&c, bad[i]) != -EINVAL)
                        fail_msg("taken: %s", bad[i]);
                assert_true(strlen(c.wrong) > 0);
        }
        http_client_done(&c);
}

static void test_quote(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        http_quote(&b, "a&b=c d/\xc3\xa9~\n");
        assert_string_equal(strbuf_str(&b), "a%26b%3Dc%20d%2F%C3%A9~%0A");
}

static void test_clean(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        text_clean(&b,
                "a\033[2Jb\n\x7f\xc2\x9b"
                "c\xff\xc3\xa9");
        assert_string_equal(strbuf_str(&b), "a?[2Jb???c?\xc3\xa9");
}

static void test_bar(void **state)
{
        static const struct {
                double percent;
                const char *bar;
        } cases[] = { { 0, "[----]   0%" }, { 50, "[##--]  50%" }, { 100, "[####] 100%" },
                { 1e9, "[####] 100%" }, { -5, "[----]   0%" }, { 0.0 / 0.0, "[----]   0%" } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(strbuf_done) StrBuf b = {};

                text_bar(&b, cases[i].percent, 4);
                assert_string_equal(strbuf_str(&b), cases[i].bar);
        }
}

static void test_table(void **state)
{
        _cleanup_(text_table_done) TextTable t = { .n_columns = 3, .right = 1U << 1 };
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        text_table_add(&t, "NAME");
        text_table_add(&t, "N");
        text_table_add(&t, "X");
        text_table_add(&t, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
        text_table_add_u64(&t, 1234);
        text_table_add(&t, NULL);
        assert_int_equal(text_table_print(&t, f, false), 0);
        fclose(f);
        assert_string_equal(
                text, "NAME      N  X\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9  1234  -\n");
        free(text);
}

/* ---- reevectl(1) against the table ---- */

static char *read_page(void)
{
        char path[4096], *text = NULL;

        snprintf(path, sizeof(path), "%s/reevectl.1.scd", man_dir);
        assert_int_equal(read_file(AT_FDCWD, path, 1UL << 20, &text, NULL), 0);
        return text;
}

static bool page_has_line(const char *page, const char *line)
{
        size_t n = strlen(line);

        for (const char *p = page; (p = strstr(p, line)); p++)
                if ((p == page || p[-1] == '\n') && p[n] == '\n')
                        return true;
        return false;
}

static void test_page_has_every_verb_and_option(void **state)
{
        _cleanup_(freep) char *page = read_page();
        char line[256];

        for (const CtlVerb *v = ctl_verbs(); v->name; v++) {
                snprintf(line, sizeof(line), "*%s*%s%s", v->name, *v->arguments ? " " : "",
                        v->arguments);
                if (!v->hidden && !page_has_line(page, line))
                        fail_msg("reevectl(1) has no line %s", line);
        }
        for (CtlOptionId id = 0; id < _OPTION_MAX; id++) {
                const CtlOption *o = ctl_option(id);

                snprintf(line, sizeof(line), o->value ? "%s*--%s=*_%s_" : "%s*--%s*",
                        o->letter == 'h'           ? "*-h*, "
                                : o->letter == 'f' ? "*-f*, "
                                                   : "",
                        o->name, o->value ? o->value : "");
                if (!page_has_line(page, line))
                        fail_msg("reevectl(1) has no line %s", line);
        }
}

/* What heads a paragraph there is in the table: "*--name" and "*verb* ...". */
static void test_page_has_nothing_else(void **state)
{
        _cleanup_(freep) char *page = read_page();
        const char *options_at = strstr(page, "\n# OPTIONS"), *end = strstr(page, "\n# EXIT");
        unsigned n_verbs = 0, n_options = 0;

        assert_true(options_at && end);
        for (char *line = strstr(page, "\n# VERBS"), *next; line && line < end; line = next) {
                char name[64];
                bool found = false;

                next = strchr(line + 1, '\n');
                if (line < options_at && sscanf(line + 1, "*%63[a-z]*", name) == 1) {
                        if (!ctl_verb_find(name))
                                fail_msg("no such verb: %s", name);
                        n_verbs++;
                } else if (sscanf(line + 1, "*--%63[a-z-]", name) == 1 ||
                        sscanf(line + 1, "*-%*c*, *--%63[a-z-]", name) == 1) {
                        for (CtlOptionId id = 0; id < _OPTION_MAX; id++)
                                found = found || streq(ctl_option(id)->name, name);
                        if (!found)
                                fail_msg("no such option: %s", name);
                        n_options++;
                }
        }
        assert_int_equal(n_options, _OPTION_MAX);
        assert_true(n_verbs >= 13);
}

static void test_local_time(void **state)
{
        char buf[TEXT_TIME_MAX];

        setenv("TZ", "UTC-2", 1); /* two hours east */
        tzset();
        assert_string_equal(
                text_local_time(buf, "2026-11-22T10:20:30.123Z"), "2026-11-22 12:20:30");
        assert_string_equal(text_local_time(buf, "soon\033"), "soon?");
}

static bool note_event(const char *event, const char *data, void *userdata)
{
        strbuf_printf(userdata, "[%s|%s]", event, data);
        return streq(event, "last");
}

/* Each split gives the same. */
static void check_events(const char *text, int want, const char *events, const char *id)
{
        for (size_t piece = 1; piece <= strlen(text); piece++) {
                _cleanup_(strbuf_done) StrBuf seen = {};
                _cleanup_(event_reader_done)
                        EventReader r = { .on_event = note_event, .userdata = &seen };
                int e = 0;

                for (size_t at = 0; at < strlen(text) && e == 0; at += piece)
                        e = event_reader_feed(&r, text + at,
                                strlen(text) - at < piece ? strlen(text) - at : piece);
                assert_int_equal(e, want);
                assert_string_equal(strbuf_str(&seen), events);
                assert_string_equal(strbuf_str(&r.id), id);
        }
}

static void test_events(void **state)
{
        check_events("event: a\nid: 1\ndata: x\n\ndata:y\n\n", 0, "[a|x][message|y]", "1");
        check_events("data: 1\r\ndata: 2\r\n\r\ndata:  3\r\rdata\n\n", 0,
                "[message|1\n2][message| 3][message|]", "");
        check_events(": no\n\nid: 5,3\n\nevent: none\n\nretry: 1\nelse: x\ndata: z\n\n", 0,
                "[message|z]", "5,3");
        check_events("data: half", 0, "", "");
        check_events("event: last\ndata: x\n\n", 1, "[last|x]", "");
}

/* What was half sent before the connection ended is not put in front of what comes next. */
static void test_events_of_a_new_connection(void **state)
{
        static const char half[] = "id: 7\nevent: a\ndata: ha", whole[] = "data: whole\n\n";
        _cleanup_(strbuf_done) StrBuf seen = {};
        _cleanup_(event_reader_done) EventReader r = { .on_event = note_event, .userdata = &seen };

        assert_int_equal(event_reader_feed(&r, half, strlen(half)), 0);
        event_reader_restart(&r);
        assert_int_equal(event_reader_feed(&r, whole, strlen(whole)), 0);
        assert_string_equal(strbuf_str(&seen), "[message|whole]");
        assert_string_equal(strbuf_str(&r.id), "7");
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_local_time),
                cmocka_unit_test(test_replies_taken),
                cmocka_unit_test(test_replies_refused),
                cmocka_unit_test(test_what_follows_is_refused),
                cmocka_unit_test(test_endless_heads_are_refused),
                cmocka_unit_test(test_events),
                cmocka_unit_test(test_events_of_a_new_connection),
                cmocka_unit_test(test_url),
                cmocka_unit_test(test_quote),
                cmocka_unit_test(test_clean),
                cmocka_unit_test(test_bar),
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_page_has_every_verb_and_option),
                cmocka_unit_test(test_page_has_nothing_else),
        };

        (void) setlocale(LC_CTYPE, "C.UTF-8");
        man_dir = argc > 1 ? argv[1] : "man";
        return cmocka_run_group_tests(tests, NULL, NULL);
}
