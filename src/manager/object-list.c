/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "object-list.h"

#include "bus-object.h"

int object_set_path(Object *o, const ObjectClass *class, const char *label)
{
        return sd_bus_path_encode(class->prefix, label, &o->path) < 0 ? -ENOMEM : 0;
}

void object_free(const ObjectClass *class, Object *o)
{
        if (!o)
                return;
        free(o->path);
        class->free(o);
        free(o);
}

static void free_all(const ObjectClass *class, Object **items, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                object_free(class, items[i]);
        free(items);
}

void object_list_done(ObjectList *l)
{
        free_all(l->class, l->items, l->n);
        l->items = NULL;
        l->n = 0;
}

static int compare(const void *a, const void *b)
{
        return strcmp((*(Object *const *) a)->path, (*(Object *const *) b)->path);
}

/* Sorts, and drops all but the last of one path. Returns how many are left. */
static unsigned settle(const ObjectClass *class, Object **items, unsigned n)
{
        unsigned kept = 0;

        if (n > 1)
                qsort(items, n, sizeof(Object *), compare);
        for (unsigned i = 0; i < n; i++)
                if (i + 1 < n && streq(items[i]->path, items[i + 1]->path))
                        object_free(class, items[i]);
                else
                        items[kept++] = items[i];
        return kept;
}

/* Of one object: old or new or both. */
static bool tell_change(const ObjectClass *class, sd_bus *bus, const Object *old, const Object *new)
{
        if (old && new)
                return bus_emit_changes(
                               bus, new->path, class->interface, class->vtable, old, new) != 0;
        if (bus && old)
                (void) sd_bus_emit_object_removed(bus, old->path);
        if (bus && new)
                (void) sd_bus_emit_object_added(bus, new->path);
        return true;
}

unsigned object_list_replace(ObjectList *l, sd_bus *bus, Object **new_items, unsigned n)
{
        Object **old = l->items;
        unsigned n_old = l->n, n_changed = 0;

        n = settle(l->class, new_items, n);
        l->items = new_items;
        l->n = n;
        for (unsigned i = 0, j = 0; i < n_old || j < n;) {
                int order = i == n_old ? 1 : j == n ? -1 : strcmp(old[i]->path, new_items[j]->path);

                n_changed += tell_change(l->class, bus, order <= 0 ? old[i] : NULL,
                        order >= 0 ? new_items[j] : NULL);
                i += order <= 0;
                j += order >= 0;
        }
        free_all(l->class, old, n_old);
        return n_changed;
}

static int compare_path(const void *key, const void *item)
{
        return strcmp(key, (*(Object *const *) item)->path);
}

Object *object_list_find(const ObjectList *l, const char *path)
{
        Object **found =
                l->n == 0 ? NULL : bsearch(path, l->items, l->n, sizeof(Object *), compare_path);

        return found ? *found : NULL;
}

int object_list_enumerate(const ObjectList *l, char ***ret_nodes)
{
        char **nodes = new0(char *, l->n + 1);

        for (unsigned i = 0; nodes && i < l->n; i++) {
                nodes[i] = strdup(l->items[i]->path);
                if (!nodes[i]) {
                        while (i > 0)
                                free(nodes[--i]);
                        free(nodes);
                        return -ENOMEM;
                }
        }
        if (!nodes)
                return -ENOMEM;
        *ret_nodes = nodes;
        return 1;
}
