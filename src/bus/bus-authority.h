/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "bus-caller.h"
#include "macros.h"

/* Asks polkit whether the caller of a method may do it, without blocking: others are served while
 * somebody types a password.
 *
 * Each check is asked anew, nothing is remembered (polkit itself keeps auth_admin_keep). Who is
 * asked about is the sender's unique name. Interaction is allowed if the message allows it. A
 * caller who leaves the bus ends its checks: the prompt goes away and nothing is done. polkit that
 * is absent, is broken or does not answer means no.
 *
 * GLOSSARY
 * check    one question about one message
 * identify ask the bus whose connection it is: the caller's uid decides whose turn it is
 * place    a check that is being answered; dbus-daemon lets one connection wait for 128 answers,
 * and no user may fill all places with prompts */

#define BUS_PLACES_MAX        64U /* checks at polkit at the same time */
#define BUS_PLACES_USER_MAX   16U /* of them for one user */
#define BUS_IDENTIFY_MAX      32U /* callers being identified at the same time */
#define BUS_CHECKS_MAX        2048U /* checks in all */
#define BUS_CHECKS_SENDER_MAX 512U /* of them for one connection */

typedef struct BusAuthority BusAuthority;
typedef struct BusCheck BusCheck;

typedef enum BusVerdict {
        BUS_ALLOWED,
        BUS_DENIED,
        BUS_CHALLENGE, /* it would be allowed after authentication, but nobody may be asked */
        BUS_ABSENT, /* polkit cannot be asked: denied */
        BUS_GONE, /* the caller has left: there is nobody to answer */
} BusVerdict;

/* Called once for each check that was not cancelled, from the event loop. caller is set when
 * allowed, text says in one line why it is BUS_ABSENT. */
typedef void (*BusCheckCallback)(
        BusVerdict verdict, const BusCaller *caller, const char *text, void *userdata);

/* One for each connection; borrows it. */
int bus_authority_new(sd_bus *bus, BusAuthority **ret);
/* All its checks must have been cancelled or have called back. NULL-safe, returns NULL. */
BusAuthority *bus_authority_free(BusAuthority *a);
DEFINE_CLEANUP(BusAuthority, bus_authority_free)

typedef struct BusQuestion {
        sd_bus_message *message; /* whose sender is asked about; a reference is kept */
        const char *action;
        const char *const *details; /* name, value, ..., NULL: for rules and the prompt */
} BusQuestion;

/* Copies the texts. Returns 0, -EBUSY (too many checks of this sender, or in all) or another
 * -errno. */
int bus_check_new(BusAuthority *a, const BusQuestion *question, BusCheckCallback callback,
        void *userdata, BusCheck **ret);
/* Ends a prompt; the callback will not come. NULL-safe, returns NULL. */
BusCheck *bus_check_cancel(BusCheck *c);

/* Answers a message that was not allowed. what: "set RolloutPercent"; twin: a command that may ask
 * for a password, or NULL if this message already could have. Does nothing for BUS_GONE. Returns
 * 0 or -errno. */
int bus_reply_refused(sd_bus_message *m, BusVerdict verdict, const char *text, const char *what,
        const char *twin);
