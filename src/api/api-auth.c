/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "api-private.h"

#define ADMIN_GROUP "reeve-admin"
#define ALL_RIGHTS  ((1U << _API_RIGHT_MAX) - 1)

/* The group's number; (gid_t) -1 if there is none. Its members are not asked for: the kernel knows
 * what groups the peer had when it connected. */
static gid_t admin_gid(void)
{
        static gid_t gid = (gid_t) -1;
        struct group *g;

        if (gid == (gid_t) -1) {
                g = getgrnam(ADMIN_GROUP);
                if (g)
                        gid = g->gr_gid;
        }
        return gid;
}

static bool peer_in_group(int fd, gid_t primary, gid_t gid)
{
        gid_t groups[256];
        socklen_t size = sizeof(groups);
        _cleanup_(freep) gid_t *more = NULL;
        gid_t *list = groups;

        if (gid == (gid_t) -1)
                return false;
        if (primary == gid)
                return true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
                if (errno != ERANGE)
                        return false;
                more = malloc(size);
                if (!more || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, more, &size) < 0)
                        return false;
                list = more;
        }
        for (size_t i = 0; i < size / sizeof(gid_t); i++)
                if (list[i] == gid)
                        return true;
        return false;
}

int peer_identify(Api *a, HttpRequest *r, Caller *ret)
{
        int fd = http_request_get_fd(r);
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        *ret = (Caller){};
        (void) snprintf(ret->actor, sizeof(ret->actor), "uid:%u", peer.uid);
        if (peer.uid == 0 || peer_in_group(fd, peer.gid, admin_gid()))
                ret->rights = ALL_RIGHTS;
        return 0;
}
