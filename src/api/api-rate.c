/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "log.h"
#include "store-key.h"

/* How often a key may use a route. The counts are in the database, so that they hold for all
 * processes and hosts together; only routes with a limit ask for them. */

#define HOUR_USEC (60 * USEC_PER_MIN)

static const char *route_name(const HttpRoute *route, char buf[static 256])
{
        (void) snprintf(buf, 256, "%s %s", http_method_to_string(route->method), route->pattern);
        return buf;
}

static bool set_rate(const Api *a, SettingsRate *rates, const struct SettingsRoute *s)
{
        for (unsigned i = 0; i < a->n_routes; i++)
                if (streq(http_method_to_string(a->routes[i].method), s->words[0]) &&
                        streq(a->routes[i].pattern, s->words[1])) {
                        rates[i] = s->rate;
                        return true;
                }
        return false;
}

int rates_new(Api *a, SettingsRate **ret)
{
        SettingsRate *rates = new0(SettingsRate, a->n_routes);
        const SettingsRoutes *own = &a->settings.route_rates;

        if (!rates)
                return -ENOMEM;
        for (unsigned i = 0; i < a->n_routes; i++) {
                unsigned n = a->routes[i].rate;

                rates[i] =
                        n == API_RATE_DEFAULT ? a->settings.rate : (SettingsRate){ n, HOUR_USEC };
        }
        for (size_t i = 0; i < own->n_items; i++)
                if (!set_rate(a, rates, own->items + i))
                        log_warning("RouteRate=: there is no route \"%s %s\".",
                                own->items[i].words[0], own->items[i].words[1]);
        *ret = rates;
        return 0;
}

/* draft-ietf-httpapi-ratelimit-headers-10: quota and window, then what is left of them. */
static int add_fields(Call *c, const SettingsRate *limit, const StoreRate *rate, unsigned left_sec)
{
        char policy[64], left[64];
        int r;

        (void) snprintf(policy, sizeof(policy), "\"route\";q=%u;w=%llu", limit->n,
                (unsigned long long) (limit->per_usec / USEC_PER_SEC));
        (void) snprintf(left, sizeof(left), "\"route\";r=%lld;t=%u",
                rate->n < limit->n ? (long long) (limit->n - rate->n) : 0, left_sec);
        r = call_add_field(c, "RateLimit-Policy", policy);
        return r < 0 ? r : call_add_field(c, "RateLimit", left);
}

static void on_rate(int error, const StoreRate *rate, void *userdata)
{
        Call *c = userdata;
        const SettingsRate *limit = c->api->rates + (c->route - c->api->routes);
        CallReady ready = c->ready;
        unsigned left_sec;
        char seconds[16];

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        left_sec = (unsigned) ((rate->left_usec + (int64_t) USEC_PER_SEC - 1) /
                (int64_t) USEC_PER_SEC);
        if (call_failed(c, add_fields(c, limit, rate, left_sec)))
                return;
        if (rate->n <= limit->n) {
                ready(c);
                return;
        }
        (void) snprintf(seconds, sizeof(seconds), "%u", left_sec > 0 ? left_sec : 1);
        if (!call_failed(c, call_add_field(c, "Retry-After", seconds)))
                call_problem(c, PROBLEM_TOO_MANY_REQUESTS,
                        "This key may use this route %u times in %llu s. Try again in %s s.",
                        limit->n, (unsigned long long) (limit->per_usec / USEC_PER_SEC), seconds);
}

void rate_check(Call *c, CallReady ready)
{
        const SettingsRate *limit = c->api->rates + (c->route - c->api->routes);
        char name[256];

        if (limit->n == 0 || c->caller.key == 0) {
                ready(c);
                return;
        }
        c->ready = ready;
        (void) call_failed(c,
                store_take_rate(c->api->store,
                        &(StoreRateLimit){ c->caller.key, route_name(c->route, name), limit->n,
                                limit->per_usec },
                        on_rate, c, &c->pending));
}
