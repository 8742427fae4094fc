/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-authority.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "time-util.h"

#define IDENTIFY_USEC (10 * USEC_PER_SEC)
#define ANSWER_USEC   (10 * USEC_PER_SEC) /* without interaction */
#define PROMPT_USEC   (2 * USEC_PER_MIN)
#define DETAILS_MAX   16U

#define POLKIT_NAME       "org.freedesktop.PolicyKit1"
#define POLKIT_PATH       "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE  "org.freedesktop.PolicyKit1.Authority"
#define ALLOW_INTERACTION 1U /* CheckAuthorization's flag */

typedef enum CheckState {
        CHECK_NEW, /* to be identified */
        CHECK_IDENTIFYING,
        CHECK_WAITING, /* for a place */
        CHECK_ASKING,
        CHECK_ENDING, /* polkit cannot even be called: called back by the defer source */
} CheckState;

struct BusCheck {
        BusAuthority *authority;
        BusCheck *prev, *next; /* BusAuthority.first to .last, in the order of arrival */
        CheckState state;
        sd_bus_message *message;
        char *action;
        char *details[DETAILS_MAX + 1];
        BusCaller caller;
        uint64_t id; /* the prompt's, to cancel it */
        sd_bus_slot *call; /* the answer that is waited for */
        BusCheckCallback callback;
        void *userdata;
};

struct BusAuthority {
        sd_bus *bus;
        sd_event_source *defer; /* on while there may be something to start */
        sd_bus_slot *match; /* callers leave: there while there are checks */
        BusCheck *first, *last;
        unsigned n_checks, n_identifying, n_asking;
        uint64_t last_id;
};

/* ---- a check's life ---- */

static void kick(BusAuthority *a)
{
        (void) sd_event_source_set_enabled(a->defer, SD_EVENT_ONESHOT);
}

static void set_state(BusCheck *c, CheckState state)
{
        BusAuthority *a = c->authority;

        a->n_identifying -= c->state == CHECK_IDENTIFYING;
        a->n_asking -= c->state == CHECK_ASKING;
        a->n_identifying += state == CHECK_IDENTIFYING;
        a->n_asking += state == CHECK_ASKING;
        c->state = state;
}

static BusCheck *check_free(BusCheck *c)
{
        BusAuthority *a = c->authority;

        set_state(c, CHECK_ENDING);
        if (c->prev)
                c->prev->next = c->next;
        else
                a->first = c->next;
        if (c->next)
                c->next->prev = c->prev;
        else
                a->last = c->prev;
        a->n_checks--;
        if (a->first)
                kick(a);
        else
                a->match = sd_bus_slot_unref(a->match);
        sd_bus_slot_unref(c->call);
        sd_bus_message_unref(c->message);
        free(c->action);
        for (unsigned i = 0; i < DETAILS_MAX; i++)
                free(c->details[i]);
        return mfree(c);
}

static void end_prompt(BusCheck *c)
{
        char id[32];

        if (c->state != CHECK_ASKING)
                return;
        (void) snprintf(id, sizeof(id), "%" PRIu64, c->id);
        (void) sd_bus_call_method_async(c->authority->bus, NULL, POLKIT_NAME, POLKIT_PATH,
                POLKIT_INTERFACE, "CancelCheckAuthorization", NULL, NULL, "s", id);
}

BusCheck *bus_check_cancel(BusCheck *c)
{
        if (!c)
                return NULL;
        end_prompt(c);
        return check_free(c);
}

static void finish(BusCheck *c, BusVerdict verdict, const char *text)
{
        BusCheckCallback callback = c->callback;
        void *userdata = c->userdata;
        BusCaller caller = c->caller;

        check_free(c);
        callback(verdict, &caller, text, userdata);
}

static BusCheck *find_check_of(BusAuthority *a, const char *sender)
{
        for (BusCheck *c = a->first; c; c = c->next)
                if (streq_ptr(sd_bus_message_get_sender(c->message), sender))
                        return c;
        return NULL;
}

static int on_name_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusAuthority *a = userdata;
        const char *name;
        BusCheck *c;

        if (sd_bus_message_read(m, "s", &name) < 0)
                return 0;
        while ((c = find_check_of(a, name))) {
                end_prompt(c);
                finish(c, BUS_GONE, NULL);
        }
        return 0;
}

/* Sent before polkit is asked, and the bus keeps the order: whoever leaves before the match is
 * there has left before polkit hears of him, and polkit refuses. */
static int watch_callers(BusAuthority *a)
{
        if (a->match)
                return 0;
        return sd_bus_add_match_async(a->bus, &a->match,
                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                on_name_gone, NULL, a);
}

/* ---- what polkit says ---- */

static void on_verdict(BusCheck *c, sd_bus_message *m)
{
        int authorized, challenge, r;

        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(m, "bb", &authorized, &challenge);
        if (r < 0)
                finish(c, BUS_ABSENT, "its answer is not understood");
        else
                finish(c, authorized ? BUS_ALLOWED : challenge ? BUS_CHALLENGE : BUS_DENIED, NULL);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusCheck *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        char text[256];

        if (!e) {
                on_verdict(c, m);
                return 0;
        }
        if (sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT,
                    "org.freedesktop.DBus.Error.TimedOut"))
                end_prompt(c);
        (void) snprintf(text, sizeof(text), "%s", e->message ? e->message : e->name);
        finish(c, BUS_ABSENT, text);
        return 0;
}

static int append_question(BusCheck *c, sd_bus_message *q, bool interactive)
{
        char id[32];
        int r;

        c->id = ++c->authority->last_id;
        (void) snprintf(id, sizeof(id), "%" PRIu64, c->id);
        r = sd_bus_message_append(q, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                sd_bus_message_get_sender(c->message), c->action);
        if (r >= 0)
                r = sd_bus_message_open_container(q, SD_BUS_TYPE_ARRAY, "{ss}");
        for (char **d = c->details; r >= 0 && *d; d += 2)
                r = sd_bus_message_append(q, "{ss}", d[0], d[1]);
        if (r >= 0)
                r = sd_bus_message_close_container(q);
        return r < 0 ? r : sd_bus_message_append(q, "us", interactive ? ALLOW_INTERACTION : 0U, id);
}

static int ask(BusCheck *c)
{
        sd_bus_message *q = NULL;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(c->message) > 0;
        int r = sd_bus_message_new_method_call(c->authority->bus, &q, POLKIT_NAME, POLKIT_PATH,
                POLKIT_INTERFACE, "CheckAuthorization");

        if (r >= 0)
                r = append_question(c, q, interactive);
        if (r >= 0)
                r = sd_bus_call_async(c->authority->bus, &c->call, q, on_answer, c,
                        interactive ? PROMPT_USEC : ANSWER_USEC);
        sd_bus_message_unref(q);
        return r;
}

/* ---- who calls ---- */

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusCheck *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);

        c->call = sd_bus_slot_unref(c->call);
        if (e && sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER)) {
                finish(c, BUS_GONE, NULL);
                return 0;
        }
        if (e || bus_caller_read(m, &c->caller) < 0) {
                finish(c, BUS_ABSENT, "the bus does not say who calls");
                return 0;
        }
        /* Who is our own user could do it without asking us. Not so root, about whom polkit's rules
         * are asked as about anybody. */
        if (c->caller.uid != 0 && c->caller.uid == geteuid()) {
                finish(c, BUS_ALLOWED, NULL);
                return 0;
        }
        set_state(c, CHECK_WAITING);
        kick(c->authority);
        return 0;
}

static int identify(BusCheck *c)
{
        sd_bus_message *q = NULL;
        int r = sd_bus_message_new_method_call(c->authority->bus, &q, "org.freedesktop.DBus",
                "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionCredentials");

        if (r >= 0)
                r = sd_bus_message_append(q, "s", sd_bus_message_get_sender(c->message));
        if (r >= 0)
                r = sd_bus_call_async(
                        c->authority->bus, &c->call, q, on_credentials, c, IDENTIFY_USEC);
        sd_bus_message_unref(q);
        return r;
}

/* ---- whose turn it is ---- */

static unsigned count_asking(const BusAuthority *a, uid_t uid)
{
        unsigned n = 0;

        for (const BusCheck *c = a->first; c; c = c->next)
                n += c->state == CHECK_ASKING && c->caller.uid == uid;
        return n;
}

static bool may_start(const BusAuthority *a, const BusCheck *c, uid_t *full)
{
        if (c->state == CHECK_NEW)
                return a->n_identifying < BUS_IDENTIFY_MAX;
        if (c->state != CHECK_WAITING || a->n_asking >= BUS_PLACES_MAX || c->caller.uid == *full)
                return false;
        if (count_asking(a, c->caller.uid) < BUS_PLACES_USER_MAX)
                return true;
        *full = c->caller.uid;
        return false;
}

static int on_defer(sd_event_source *s, void *userdata)
{
        BusAuthority *a = userdata;
        uid_t full = (uid_t) -1; /* the last user found to have no place left: not counted again */
        BusCheck *next;

        for (BusCheck *c = a->first; c; c = next) {
                CheckState state = c->state;
                int r;

                next = c->next;
                if (state != CHECK_ENDING && !may_start(a, c, &full))
                        continue;
                if (state == CHECK_ENDING) {
                        finish(c, BUS_ABSENT, "the question could not be sent");
                        kick(a); /* the callback may have changed the list */
                        return 0;
                }
                set_state(c, state == CHECK_NEW ? CHECK_IDENTIFYING : CHECK_ASKING);
                r = state == CHECK_NEW ? identify(c) : ask(c);
                if (r < 0) {
                        set_state(c, CHECK_ENDING);
                        kick(a);
                }
        }
        return 0;
}

/* ---- from outside ---- */

static int take_details(BusCheck *c, const char *const *details)
{
        for (unsigned i = 0; details && details[i]; i++) {
                assert(i < DETAILS_MAX);
                c->details[i] = strdup(details[i]);
                if (!c->details[i])
                        return -ENOMEM;
        }
        return 0;
}

static bool is_full(const BusAuthority *a, const char *sender)
{
        unsigned n = 0;

        if (a->n_checks >= BUS_CHECKS_MAX)
                return true;
        for (const BusCheck *c = a->first; c; c = c->next)
                n += streq_ptr(sd_bus_message_get_sender(c->message), sender);
        return n >= BUS_CHECKS_SENDER_MAX;
}

static BusCheck *check_new(BusAuthority *a, const BusQuestion *question)
{
        BusCheck *c = new0(BusCheck, 1);

        if (!c)
                return NULL;
        *c = (BusCheck){ .authority = a, .prev = a->last };
        c->message = sd_bus_message_ref(question->message);
        if (a->last)
                a->last->next = c;
        else
                a->first = c;
        a->last = c;
        a->n_checks++;
        return c;
}

int bus_check_new(BusAuthority *a, const BusQuestion *question, BusCheckCallback callback,
        void *userdata, BusCheck **ret)
{
        const char *sender = sd_bus_message_get_sender(question->message);
        BusCheck *c;
        int r;

        if (!sender)
                return -EINVAL;
        if (is_full(a, sender))
                return -EBUSY;
        c = check_new(a, question);
        if (!c)
                return -ENOMEM;
        c->callback = callback;
        c->userdata = userdata;
        c->action = strdup(question->action);
        r = c->action ? take_details(c, question->details) : -ENOMEM;
        if (r >= 0)
                r = watch_callers(a);
        if (r < 0) {
                check_free(c);
                return r;
        }
        kick(a);
        *ret = c;
        return 0;
}

int bus_authority_new(sd_bus *bus, BusAuthority **ret)
{
        _cleanup_(bus_authority_freep) BusAuthority *a = new0(BusAuthority, 1);
        int r;

        if (!a)
                return -ENOMEM;
        a->bus = bus;
        r = sd_event_add_defer(sd_bus_get_event(bus), &a->defer, on_defer, a);
        if (r >= 0)
                r = sd_event_source_set_enabled(a->defer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_description(a->defer, "polkit-checks");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

BusAuthority *bus_authority_free(BusAuthority *a)
{
        if (!a)
                return NULL;
        while (a->first)
                check_free(a->first);
        sd_event_source_disable_unref(a->defer);
        return mfree(a);
}

int bus_reply_refused(
        sd_bus_message *m, BusVerdict verdict, const char *text, const char *what, const char *twin)
{
        switch (verdict) {
        case BUS_GONE:
                return 0;
        case BUS_CHALLENGE:
                if (twin)
                        return sd_bus_reply_method_errorf(m,
                                SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                "You must authenticate to %s, and setting a property never asks. "
                                "Type instead: %s",
                                what, twin);
                return sd_bus_reply_method_errorf(m,
                        SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                        "You must authenticate to %s, and nobody can be asked: the call does not "
                        "allow it, or no agent runs (pkttyagent). Group reeve-admin may at once.",
                        what);
        case BUS_ABSENT:
                return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_ACCESS_DENIED,
                        "You may not %s: polkit cannot be asked (%s).", what, text);
        default:
                return sd_bus_reply_method_errorf(
                        m, SD_BUS_ERROR_ACCESS_DENIED, "You may not %s.", what);
        }
}
