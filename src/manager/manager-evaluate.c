/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-flag.h"
#include "reeve-limits.h"

/* Flag.Evaluate(): what the flag says for a subject, from memory. */

typedef struct Property {
        const char *name;
        FlagValue value;
} Property;

typedef struct Context {
        const char *subject;
        Property properties[FLAG_CONTEXT_MAX];
        unsigned n;
} Context;

static bool look_up(const char *name, FlagValue *ret, void *userdata)
{
        const Context *c = userdata;

        if (streq(name, "targetingKey") && c->subject[0]) {
                *ret = (FlagValue){ .type = FLAG_STRING, .string = (char *) c->subject };
                return true;
        }
        for (unsigned i = c->n; i > 0; i--) /* of two with one name the last, as in JSON */
                if (streq(c->properties[i - 1].name, name)) {
                        *ret = c->properties[i - 1].value;
                        return true;
                }
        return false;
}

static FlagValue integer_value(int64_t v)
{
        return (FlagValue){ .type = FLAG_INTEGER, .integer = v };
}

typedef union Basic {
        uint8_t y;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
        int b;
        const char *s;
} Basic;

/* Returns false for a type that no rule looks at. */
static bool take_basic(char type, const Basic *v, FlagValue *ret)
{
        switch (type) {
        case SD_BUS_TYPE_BYTE:
                *ret = integer_value(v->y);
                return true;
        case SD_BUS_TYPE_INT16:
                *ret = integer_value(v->n);
                return true;
        case SD_BUS_TYPE_UINT16:
                *ret = integer_value(v->q);
                return true;
        case SD_BUS_TYPE_INT32:
                *ret = integer_value(v->i);
                return true;
        case SD_BUS_TYPE_UINT32:
                *ret = integer_value(v->u);
                return true;
        case SD_BUS_TYPE_INT64:
                *ret = integer_value(v->x);
                return true;
        case SD_BUS_TYPE_UINT64:
                *ret = v->t <= INT64_MAX
                        ? integer_value((int64_t) v->t)
                        : (FlagValue){ .type = FLAG_NUMBER, .number = (double) v->t };
                return true;
        case SD_BUS_TYPE_DOUBLE:
                *ret = (FlagValue){ .type = FLAG_NUMBER, .number = v->d };
                return true;
        case SD_BUS_TYPE_BOOLEAN:
                *ret = (FlagValue){ .type = FLAG_BOOL, .boolean = v->b };
                return true;
        case SD_BUS_TYPE_STRING:
                *ret = (FlagValue){ .type = FLAG_STRING, .string = (char *) v->s };
                return true;
        default:
                return false;
        }
}

static int read_property(sd_bus_message *m, Context *c, sd_bus_error *error)
{
        Property *p = c->properties + c->n;
        const char *type;
        Basic v = {};
        int r;

        if (c->n == FLAG_CONTEXT_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "A context has at most %u properties.", FLAG_CONTEXT_MAX);
        r = sd_bus_message_read(m, "s", &p->name);
        if (r >= 0)
                r = sd_bus_message_peek_type(m, NULL, &type);
        if (r < 0)
                return r;
        if (strlen(type) != 1 || !strchr("ynqiuxtdbs", type[0]))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Property \"%.64s\" is of type \"%.64s\": numbers, strings and booleans "
                        "are "
                        "taken.",
                        p->name, type);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, type);
        if (r >= 0)
                r = sd_bus_message_read_basic(m, type[0], &v);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                c->n += take_basic(type[0], &v, &p->value);
        return r;
}

static int read_context(sd_bus_message *m, Context *c, sd_bus_error *error)
{
        int r = sd_bus_message_read(m, "s", &c->subject);

        if (r < 0)
                return r;
        if (strlen(c->subject) > REEVE_SUBJECT_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "A subject has at most %u bytes.", REEVE_SUBJECT_MAX);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        while (r >= 0 &&
                (r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = read_property(m, c, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static FlagResult evaluate(const FlagObject *f, Context *c)
{
        const Manager *m = f->object.manager;
        bool stale = now_usec(CLOCK_MONOTONIC) - m->flags_read_usec > m->settings.stale_usec;

        if (f->fault) /* as flag_set_evaluate() has it */
                return (FlagResult){ false, f->enabled ? FLAG_ERROR : FLAG_DISABLED, f->fault };
        if (stale && f->flag.on_stale != FLAG_STALE_KEEP)
                return flag_when_stale(&f->flag);
        return flag_evaluate(&f->flag, c->subject, look_up, c);
}

int method_evaluate(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const FlagObject *f = userdata;
        Context c = {};
        FlagResult result;
        int r = read_context(m, &c, error);

        if (r < 0)
                return r;
        result = evaluate(f, &c);
        return sd_bus_reply_method_return(m, "sss", result.on ? f->value_on : f->value_off,
                result.on ? "on" : "off", flag_reason_to_string(result.reason));
}
