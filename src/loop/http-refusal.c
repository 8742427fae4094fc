/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What MHD refuses by itself (a line that cannot be read, a head above its memory, a chunk that is
 * none) it answers in its own words, in HTML, and has no setting for them. But it queues that
 * answer by its own public function, which it calls as everybody does: through the dynamic linker.
 * The definition here comes before its own in the order of symbols, so that its call comes here.
 * The answer is written past MHD, which is told that it was not taken, and closes the connection:
 * 0.9.75 sends the head twice if it refuses a Content-Length. Our own replies go to the library's
 * function. Should a later version bind the call to itself, its HTML comes back, nothing worse;
 * tests/http/test_refusals.py would tell. */
#include <dlfcn.h>
#include <pthread.h>

#include "fd-util.h"
#include "http-loop-internal.h"

typedef enum MHD_Result (*QueueResponse)(
        struct MHD_Connection *, unsigned int, struct MHD_Response *);

static pthread_once_t looked_up = PTHREAD_ONCE_INIT;
static QueueResponse library_queue;

static void look_up(void)
{
        library_queue = (QueueResponse) dlsym(RTLD_NEXT, "MHD_queue_response");
}

enum MHD_Result http_queue_response(
        struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response)
{
        (void) pthread_once(&looked_up, look_up);
        return library_queue ? library_queue(mhd, status, response) : MHD_NO;
}

/* Where the request stands. _HTTP_REFUSE_MAX: we have answered already, nothing is to be added. */
static HttpRefuse refuse_where(const HttpExchange *x)
{
        if (!x)
                return HTTP_REFUSE_LINE;
        if (x->phase == PHASE_HEAD)
                return HTTP_REFUSE_HEAD;
        return x->phase == PHASE_BODY ? HTTP_REFUSE_BODY : _HTTP_REFUSE_MAX;
}

/* In place of the library's: see above. */
__attribute__((visibility("default"))) enum MHD_Result MHD_queue_response(
        struct MHD_Connection *connection, unsigned int status_code, struct MHD_Response *response)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        HttpConn *c = info ? info->socket_context : NULL;
        HttpRefuse where = c ? refuse_where(c->exchange) : _HTTP_REFUSE_MAX;
        HttpReply reply = { .fd = -EBADF };

        if (where == _HTTP_REFUSE_MAX || !c->loop->ops->on_refuse ||
                !c->loop->ops->on_refuse(status_code, where,
                        c->exchange ? c->exchange->target : NULL, &reply, c->loop->userdata))
                return http_queue_response(connection, status_code, response);
        assert(reply.fd < 0);
        (void) http_conn_write(c, &reply);
        if (c->exchange) /* nobody above is to reply any more */
                http_exchange_abandon(c->exchange);
        return MHD_NO;
}
