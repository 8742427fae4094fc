/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run-packet.h"

#include <sys/socket.h>

#include "fd-util.h"

typedef union Control {
        char buf[CMSG_SPACE(sizeof(int) * RUN_PACKET_FDS_MAX)];
        struct cmsghdr align;
} Control;

void run_packet_close_fds(RunPacket *p)
{
        for (unsigned i = 0; i < p->n_fds; i++)
                safe_close(p->fds[i]);
        p->n_fds = 0;
}

void run_packet_done(RunPacket *p)
{
        run_packet_close_fds(p);
        free(p->data);
        *p = (RunPacket){ 0 };
}

int run_packet_send(int sock, const void *data, size_t size, const int *fds, unsigned n_fds)
{
        struct iovec iov = { (void *) data, size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
        Control control;
        ssize_t n;

        if (size == 0 || size > RUN_PACKET_MAX || n_fds > RUN_PACKET_FDS_MAX)
                return -EMSGSIZE;

        if (n_fds > 0) {
                struct cmsghdr *c;

                memset(&control, 0, sizeof(control));
                mh.msg_control = &control;
                mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&mh);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }

        do
                n = sendmsg(sock, &mh, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

/* Takes the descriptors out of the control data. Returns whether all of them fitted. */
static bool take_fds(RunPacket *p, struct msghdr *mh)
{
        bool fits = true;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (p->n_fds < RUN_PACKET_FDS_MAX)
                                p->fds[p->n_fds++] = fd;
                        else {
                                safe_close(fd);
                                fits = false;
                        }
                }
        }
        return fits;
}

int run_packet_receive(int sock, RunPacket *p)
{
        Control control;
        struct msghdr mh = { 0 };
        struct iovec iov;
        ssize_t n;
        bool fits;

        run_packet_close_fds(p);
        p->size = 0;
        if (!p->data) {
                p->data = malloc(RUN_PACKET_MAX + 1);
                if (!p->data)
                        return -ENOMEM;
        }

        iov = (struct iovec){ p->data, RUN_PACKET_MAX };
        mh.msg_iov = &iov;
        mh.msg_iovlen = 1;
        mh.msg_control = &control;
        mh.msg_controllen = sizeof(control);
        /* A peer that closed with something unread makes one call fail with ECONNRESET; what it had
         * sent before comes with the next. */
        do
                n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
        while (n < 0 && (errno == EINTR || errno == ECONNRESET));
        if (n < 0)
                return -errno;

        fits = take_fds(p, &mh);
        if (!fits || mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
                bool lost = fits && mh.msg_flags & MSG_CTRUNC && p->n_fds < RUN_PACKET_FDS_MAX;

                run_packet_close_fds(p);
                return lost ? -EMFILE : -EMSGSIZE; /* what the kernel has no number for is gone */
        }
        /* An empty packet is no frame either: nobody sends one. */
        if (n == 0) {
                run_packet_close_fds(p);
                return RUN_PACKET_CLOSED;
        }

        p->size = (size_t) n;
        p->data[n] = '\0';
        return RUN_PACKET_RECEIVED;
}
