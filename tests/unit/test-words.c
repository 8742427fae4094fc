/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sha256.h"
#include "test.h"
#include "words.h"

static void test_words_are_split_as_in_a_unit_file(void **state)
{
        static const struct {
                const char *line;
                int n; /* or an error */
                const char *words[4];
        } cases[] = {
                { "", 0, {} },
                { "  \t ", 0, {} },
                { "/bin/cat  -n", 2, { "/bin/cat", "-n" } },
                { "/bin/a 'b c' \"d \\\" e\"", 3, { "/bin/a", "b c", "d \" e" } },
                { "a''b\"c\"", 1, { "abc" } },
                { "'' \"\"", 2, { "", "" } },
                { "\\x41\\101\\s\\t\\u00e4\\U0001f600", 1, { "AA \t\xc3\xa4\xf0\x9f\x98\x80" } },
                { "%h $HOME *", 3, { "%h", "$HOME", "*" } },
                { "'open", -EINVAL, {} },
                { "\"open", -EINVAL, {} },
                { "back\\", -EINVAL, {} },
                { "\\q", -EINVAL, {} },
                { "\\x4", -EINVAL, {} },
                { "\\x00", -EINVAL, {} },
                { "\\xff", -EINVAL, {} }, /* not UTF-8 */
                { "\\ud800", -EINVAL, {} }, /* a surrogate */
                { "\\U00110000", -EINVAL, {} },
                { "\\777", -EINVAL, {} },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(words_freep) char **words = NULL;
                int r = words_parse(cases[i].line, &words);

                if (cases[i].n < 0) {
                        assert_int_equal(r, cases[i].n);
                        assert_null(words);
                        continue;
                }
                assert_int_equal(r, 0);
                assert_int_equal(words_count(words), cases[i].n);
                for (int w = 0; w < cases[i].n; w++)
                        assert_string_equal(words[w], cases[i].words[w]);
        }
}

static void assert_quoted(const char *word, unsigned flags, const char *expected)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        word_quote(&b, word, flags);
        assert_string_equal(strbuf_str(&b), expected);
}

static void test_quoting_is_minimal_and_for_units_doubles_percent(void **state)
{
        assert_quoted("/bin/a-b_c.d", 0, "/bin/a-b_c.d");
        assert_quoted("", 0, "\"\"");
        assert_quoted(";", 0, "\";\"");
        assert_quoted("a b\"c\\d", 0, "\"a b\\\"c\\\\d\"");
        assert_quoted("\n\x01\x7f", 0, "\"\\n\\x01\\x7f\"");
        assert_quoted("100%", 0, "100%");
        assert_quoted("100%", WORD_UNIT, "100%%");
        assert_quoted("% d", WORD_UNIT, "\"%% d\"");
}

static void test_what_was_quoted_is_read_back(void **state)
{
        for (int c = 1; c < 0x80; c++) {
                char word[] = { 'x', (char) c, 'y', (char) c, '\0' }, empty[] = "";
                char *words[] = { word, empty, NULL };
                _cleanup_(strbuf_done) StrBuf b = {};
                _cleanup_(words_freep) char **again = NULL;

                words_quote(&b, words, 0);
                assert_int_equal(words_parse(strbuf_str(&b), &again), 0);
                assert_int_equal(words_count(again), 2);
                assert_string_equal(again[0], word);
                assert_string_equal(again[1], "");
        }
}

/* The examples of FIPS 180-4's authors: "", "abc", and the two-block message. */
static void test_sha256(void **state)
{
        static const struct {
                const char *text, *hex;
        } cases[] = {
                { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
                { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
                { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        };
        char hex[SHA256_HEX_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(sha256_freep) Sha256 *s = NULL;

                assert_int_equal(sha256_hex(cases[i].text, strlen(cases[i].text), hex), 0);
                assert_string_equal(hex, cases[i].hex);

                assert_int_equal(sha256_new(&s), 0);
                for (const char *p = cases[i].text; *p; p++)
                        assert_int_equal(sha256_update(s, p, 1), 0);
                assert_int_equal(sha256_final(s, hex), 0);
                assert_string_equal(hex, cases[i].hex);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_words_are_split_as_in_a_unit_file),
                cmocka_unit_test(test_quoting_is_minimal_and_for_units_doubles_percent),
                cmocka_unit_test(test_what_was_quoted_is_read_back),
                cmocka_unit_test(test_sha256),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
