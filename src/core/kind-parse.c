/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kind-parse.h"

#include <ctype.h>

#include "calendar.h"
#include "kind.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "time-util.h"
#include "words.h"

int kind_parse_span(const ConfEntry *e, const char *value, void *target)
{
        usec_t v;
        int r;

        r = parse_timespan(value, &v);
        if (r < 0)
                return r;
        if (v < e->min)
                return -ERANGE;
        if (v == USEC_INFINITY ? e->max != USEC_INFINITY
                               : v > (e->max > 0 && e->max != USEC_INFINITY ? e->max
                                                                            : REEVE_SPAN_MAX_USEC))
                return -ERANGE;
        *(usec_t *) target = v;
        return 0;
}

int kind_parse_span_or_never(const ConfEntry *e, const char *value, void *target)
{
        usec_t v;
        int r;

        r = parse_timespan(value, &v);
        if (r < 0)
                return r;
        if (v == 0)
                v = USEC_INFINITY;
        if (v < e->min || (v != USEC_INFINITY && v > REEVE_SPAN_MAX_USEC))
                return -ERANGE;
        *(usec_t *) target = v;
        return 0;
}

int kind_parse_command(const ConfEntry *e, const char *value, void *target)
{
        _cleanup_(words_freep) char **words = NULL;
        char ***command = target;
        int r;

        r = words_parse(value, &words);
        if (r < 0)
                return r;
        if (!words[0])
                words = words_free(words);
        else if (words[0][0] != '/' || words[0][strlen(words[0]) - 1] == '/')
                return -EINVAL;
        words_free(*command);
        *command = TAKE_PTR(words);
        return 0;
}

int kind_parse_program(const ConfEntry *e, const char *value, void *target)
{
        _cleanup_(words_freep) char **words = NULL;
        int r;

        r = words_parse(value, &words);
        if (r < 0)
                return r;
        return words_count(words) > 1 ? -EINVAL : kind_parse_command(e, value, target);
}

static int parse_choice(const char *(*to_string)(int), int n, const char *value, int *ret)
{
        for (int i = 0; i < n; i++)
                if (streq(to_string(i), value)) {
                        *ret = i;
                        return 0;
                }
        return -EINVAL;
}

static const char *mode_name(int i)
{
        return kind_mode_to_string((KindMode) i);
}

static const char *output_name(int i)
{
        return kind_output_to_string((KindOutput) i);
}

static const char *missed_name(int i)
{
        return kind_missed_to_string((KindMissed) i);
}

int kind_parse_mode(const ConfEntry *e, const char *value, void *target)
{
        int i, r = parse_choice(mode_name, _KIND_MODE_MAX, value, &i);

        if (r == 0)
                *(KindMode *) target = (KindMode) i;
        return r;
}

int kind_parse_output(const ConfEntry *e, const char *value, void *target)
{
        int i, r = parse_choice(output_name, _KIND_OUTPUT_MAX, value, &i);

        if (r == 0)
                *(KindOutput *) target = (KindOutput) i;
        return r;
}

int kind_parse_missed(const ConfEntry *e, const char *value, void *target)
{
        int i, r = parse_choice(missed_name, _KIND_MISSED_MAX, value, &i);

        if (r == 0)
                *(KindMissed *) target = (KindMissed) i;
        return r;
}

static bool is_text(const char *s)
{
        for (; *s; s++)
                if (iscntrl((unsigned char) *s))
                        return false;
        return true;
}

int kind_parse_text(const ConfEntry *e, const char *value, void *target)
{
        if (!is_text(value))
                return -EINVAL;
        return conf_parse_string(e, value, target);
}

/* Whether the n bytes are "/a/b~0c": RFC 6901, section 3. */
static bool is_pointer(const char *s, size_t n)
{
        if (n == 0 || s[0] != '/')
                return false;
        for (size_t i = 0; i < n; i++)
                if (s[i] == '~' && (i + 1 == n || (s[i + 1] != '0' && s[i + 1] != '1')))
                        return false;
        return true;
}

int kind_parse_pointer(const ConfEntry *e, const char *value, void *target)
{
        if (*value && (!is_pointer(value, strlen(value)) || !is_text(value)))
                return -EINVAL;
        return conf_parse_string(e, value, target);
}

int kind_parse_key(const ConfEntry *e, const char *value, void *target)
{
        _cleanup_(words_freep) char **words = NULL;
        char ***key = target;
        size_t n;
        int r;

        r = words_parse(value, &words);
        if (r < 0)
                return r;
        n = words_count(words);
        if (n > REEVE_KEY_WORDS_MAX)
                return -ERANGE;
        for (size_t i = 0; i < n; i++)
                if (!streq(words[i], "tenant") && !streq(words[i], "subject") &&
                        (!is_pointer(words[i], strlen(words[i])) || !is_text(words[i]) ||
                                strlen(words[i]) > REEVE_KEY_WORD_MAX))
                        return -EINVAL;
        words_free(*key);
        *key = n > 0 ? TAKE_PTR(words) : NULL;
        return 0;
}

int kind_parse_rate(const ConfEntry *e, const char *value, void *target)
{
        const char *slash = strchr(value, '/'), *span;
        char number[16], one[32];
        KindRate rate = { 0 };
        int r;

        if (!*value) {
                *(KindRate *) target = rate;
                return 0;
        }
        if (!slash || (size_t) (slash - value) >= sizeof(number))
                return -EINVAL;
        memcpy(number, value, (size_t) (slash - value));
        number[slash - value] = '\0';
        r = parse_unsigned(number, 1, REEVE_RATE_MAX, &rate.n);
        if (r < 0)
                return r;

        /* "/min" is "/1min". */
        span = slash + 1;
        if (isalpha((unsigned char) *span) && strlen(span) < sizeof(one) - 1) {
                one[0] = '1';
                memcpy(one + 1, span, strlen(span) + 1);
                span = one;
        }
        r = parse_timespan(span, &rate.interval_usec);
        if (r < 0)
                return r;
        if (rate.interval_usec < USEC_PER_MSEC || rate.interval_usec > REEVE_SPAN_MAX_USEC)
                return -ERANGE;
        *(KindRate *) target = rate;
        return 0;
}

int kind_parse_calendar(const ConfEntry *e, const char *value, void *target)
{
        if (*value && !calendar_is_valid(value))
                return -EINVAL;
        return conf_parse_string(e, value, target);
}

int kind_parse_method(const ConfEntry *e, const char *value, void *target)
{
        static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };

        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i], value))
                        return conf_parse_string(e, value, target);
        return -EINVAL;
}

int kind_parse_url(const ConfEntry *e, const char *value, void *target)
{
        const char *host;
        size_t n;

        if (strncmp(value, "http://", 7) == 0)
                host = value + 7;
        else if (strncmp(value, "https://", 8) == 0)
                host = value + 8;
        else
                return -EINVAL;

        for (const char *p = value; *p; p++)
                if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7f ||
                        strchr("\"<>\\^`{|}#", *p))
                        return -EINVAL;
        n = strcspn(host, "/?");
        if (n == 0 || host[0] == ':' || memchr(host, '@', n))
                return -EINVAL;
        return conf_parse_string(e, value, target);
}

int kind_parse_credential(const ConfEntry *e, const char *value, void *target)
{
        if (*value && !name_is_valid(value))
                return -EINVAL;
        return conf_parse_string(e, value, target);
}

int kind_parse_template(const ConfEntry *e, const char *value, void *target)
{
        for (const char *p = value, *end; (p = strstr(p, "${")); p = end) {
                end = p + 2;
                if (p > value && p[-1] == '$')
                        continue;
                end = strchr(p, '}');
                if (!end || !is_pointer(p + 2, (size_t) (end - p - 2)))
                        return -EINVAL;
        }
        return kind_parse_text(e, value, target);
}

/* "429" or "500-599". */
static int parse_range(char *word, KindStatusRange *ret)
{
        char *dash = strchr(word, '-');
        int r;

        if (dash)
                *dash = '\0';
        r = parse_unsigned(word, 100, 599, &ret->first);
        if (r < 0)
                return r;
        ret->last = ret->first;
        return dash ? parse_unsigned(dash + 1, ret->first, 599, &ret->last) : 0;
}

int kind_parse_statuses(const ConfEntry *e, const char *value, void *target)
{
        _cleanup_(words_freep) char **words = NULL;
        _cleanup_(freep) KindStatusRange *ranges = NULL;
        KindHttp *http = target;
        size_t n;
        int r;

        r = words_parse(value, &words);
        if (r < 0)
                return r;
        n = words_count(words);
        ranges = new0(KindStatusRange, n);
        if (!ranges)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = parse_range(words[i], ranges + i);
                if (r < 0)
                        return r;
        }

        free(http->retry_status);
        http->retry_status = TAKE_PTR(ranges);
        http->n_retry_status = n;
        return 0;
}
