/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "manager-private.h"

/* Changes on their way: asked of polkit, written by the store, answered when they are committed. */

typedef enum ChangeType {
        CHANGE_FLAG_CREATE,
        CHANGE_FLAG_ENABLED,
        CHANGE_FLAG_PERCENT,
        CHANGE_FLAG_RULES,
        CHANGE_FLAG_ALLOW,
        CHANGE_FLAG_QUEUES,
        CHANGE_FLAG_ARCHIVE,
        CHANGE_QUEUE_PAUSED,
        CHANGE_ROLLBACK,
} ChangeType;

/* What is asked for; copied. */
typedef struct ChangeAsk {
        ChangeType type;
        const char *name; /* a flag's key, a queue's name */
        const char *reason; /* may be NULL or "" */
        bool on; /* enabled, paused */
        unsigned percent; /* thousandths */
        const char *rules; /* JSON, checked; in the message */
        char **list; /* allowed subjects, or queues (NULL: the flag's own); taken over */
        usec_t timeout_usec;
        StoreNewFlag *flag; /* to create; taken over, see new_flag_free() */
        const char *twin; /* the command to type instead of a property write, or NULL */
} ChangeAsk;

/* For handlers: starts it and returns 1, or sets *error and returns it. */
int change_start(Manager *m, sd_bus_message *message, const ChangeAsk *ask, sd_bus_error *error);
/* Answers those that wait for the operations (rollbacks) or the flags (others) to be read, after a
 * commit. */
void changes_read(Manager *m, bool rollbacks);
/* Without answers: the bus is gone. */
void changes_drop(Manager *m);

/* For a flag's key. */
#define NO_QUEUES_TEXT                                                                             \
        "Flag %s does not say which queues it guards, so nobody knows what is to drain: name "     \
        "them, or set them once (Flag.SetQueues; reevectl flag queues)."

/* For answers: what an error of the store means, and its name on the bus. Logged if it is a fault.
 */
int store_error_set(Manager *m, int error, const char *what, sd_bus_error *ret);

/* A percentage in thousandths. Returns 0, or the error that was set. */
int percent_read(double percent, unsigned *ret, sd_bus_error *error);
/* Whether rules, or the text of a value, can be stored. Return 0, or the error that was set. */
int rules_check(const char *rules, sd_bus_error *error);
int allow_check(const char *const *allow, sd_bus_error *error);
int queues_check(const char *const *queues, sd_bus_error *error);
char **strv_free(char **strings);
DEFINE_CLEANUP(char *, strv_free)
/* The arguments of CreateFlag(); all texts are its own. */
int new_flag_read(sd_bus_message *m, StoreNewFlag **ret, sd_bus_error *error);
StoreNewFlag *new_flag_free(StoreNewFlag *f);
DEFINE_CLEANUP(StoreNewFlag, new_flag_free)
