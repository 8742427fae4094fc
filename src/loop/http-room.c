/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has the connections, and which of them go when there is no room. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "http-loop-internal.h"

#define ROOM_IDLE_USEC USEC_PER_SEC /* so long a connection is left alone */

typedef struct ClientKey {
        uint8_t family; /* AF_INET, AF_INET6, AF_UNIX */
        uint8_t bytes[8]; /* an address, the first half of one, a uid */
} ClientKey;

struct HttpClient {
        HttpClient *next;
        HttpClient *previous;
        ClientKey key;
        unsigned n; /* connections, without those that were displaced */
};

static ClientKey client_key(int fd, const struct sockaddr *address, socklen_t size)
{
        ClientKey key = {};
        struct ucred peer;
        socklen_t peer_size = sizeof(peer);

        if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
                key.family = AF_INET;
                memcpy(key.bytes, &((const struct sockaddr_in *) address)->sin_addr, 4);
        } else if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
                const struct in6_addr *a = &((const struct sockaddr_in6 *) address)->sin6_addr;
                bool is_mapped = IN6_IS_ADDR_V4MAPPED(a);

                key.family = is_mapped ? AF_INET : AF_INET6;
                memcpy(key.bytes, is_mapped ? &a->s6_addr[12] : a->s6_addr, is_mapped ? 4 : 8);
        } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == 0) {
                key.family = AF_UNIX;
                memcpy(key.bytes, &peer.uid, sizeof(peer.uid));
        }
        return key;
}

/* As many steps as there are clients, which is no more than Connections=. */
HttpClient *http_client_get(HttpLoop *l, int fd, const struct sockaddr *address, socklen_t size)
{
        ClientKey key = client_key(fd, address, size);
        HttpClient *client = l->clients;

        while (client && memcmp(&client->key, &key, sizeof(key)) != 0)
                client = client->next;
        if (!client) {
                client = new0(HttpClient, 1);
                if (!client)
                        return NULL;
                client->key = key;
                client->next = l->clients;
                if (client->next)
                        client->next->previous = client;
                l->clients = client;
        }
        client->n++;
        return client;
}

void http_client_put(HttpLoop *l, HttpClient *client)
{
        if (!client || --client->n > 0)
                return;
        if (client->previous)
                client->previous->next = client->next;
        else
                l->clients = client->next;
        if (client->next)
                client->next->previous = client->previous;
        free(client);
}

/* There is no HTTP above us yet to say it: PROBLEM_UNAVAILABLE. What has come is read first, for a
 * socket that is closed with something unread in it takes its last words back. */
static void say_no_room(int fd)
{
        static const char no_room[] =
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                "Content-Length: 157\r\nRetry-After: 2\r\nConnection: close\r\n\r\n"
                "{\"type\":\"urn:reeve:problem:unavailable\","
                "\"title\":\"Not available at the moment\",\"status\":503,"
                "\"detail\":\"You have too many connections (ConnectionsPerClient=).\"}";
        char unread[4096];

        for (unsigned i = 0; i < 4 && recv(fd, unread, sizeof(unread), MSG_DONTWAIT) > 0; i++)
                ;
        (void) send(fd, no_room, strlen(no_room), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool is_idle(const HttpConn *c)
{
        int n_unread = 0;

        if (c->cut || (c->exchange && c->exchange->phase != PHASE_HEAD))
                return false;
        return ioctl(c->fd, FIONREAD, &n_unread) >= 0 && n_unread == 0;
}

bool http_room_displace(HttpLoop *l, const HttpClient *client)
{
        usec_t before = now_usec(CLOCK_MONOTONIC) - ROOM_IDLE_USEC;
        HttpConn *oldest = NULL;

        for (HttpConn *c = l->conns; c; c = c->next)
                if (c->idle_since <= before && (!client || c->client == client) &&
                        (!oldest || c->idle_since < oldest->idle_since) && is_idle(c))
                        oldest = c;
        if (!oldest)
                return false;
        l->stats.displaced++;
        http_client_put(l, STEAL(oldest->client));
        http_conn_cut(oldest);
        return true;
}

bool http_room_admit(HttpLoop *l, const HttpClient *client, int fd)
{
        if (l->limits.per_client == 0 || client->n <= l->limits.per_client ||
                http_room_displace(l, client))
                return true;
        l->stats.refused++;
        say_no_room(fd);
        return false;
}
