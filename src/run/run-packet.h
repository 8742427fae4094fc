/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "macros.h"

/* One SOCK_SEQPACKET packet with file descriptors: a frame between a worker and a launcher. */

#define RUN_PACKET_MAX     (64UL * 1024) /* bytes of a frame */
#define RUN_PACKET_FDS_MAX 64U

typedef struct RunPacket {
        char *data; /* NUL-terminated behind size; the buffer is used again by the next receive */
        size_t size;
        int fds[RUN_PACKET_FDS_MAX]; /* owned; one that is taken out is set to -EBADF */
        unsigned n_fds;
} RunPacket;

enum {
        RUN_PACKET_RECEIVED = 0,
        RUN_PACKET_CLOSED = 1, /* the other side has closed the connection */
};

/* Closes the descriptors that are left and frees the buffer. Leaves an empty, usable packet. */
void run_packet_done(RunPacket *p);

/* Closes the descriptors that are left; the rest stays until the next receive. */
void run_packet_close_fds(RunPacket *p);

/* Sends one packet; the descriptors stay the caller's. Returns 0, -EAGAIN (non-blocking and full),
 * -EMSGSIZE (above the limits), -EPIPE or another -errno. Never raises SIGPIPE. */
int run_packet_send(int sock, const void *data, size_t size, const int *fds, unsigned n_fds);

/* Receives one packet; descriptors left in *p by the last one are closed first, new ones are
 * close-on- exec. Returns a RUN_PACKET_ value, -EAGAIN, -EMSGSIZE (larger than the limits, or with
 * more descriptors, all of which are closed) or another -errno. */
int run_packet_receive(int sock, RunPacket *p);
