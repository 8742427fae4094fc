/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "strbuf.h"

/* Server-Sent Events as the HTML standard has them (9.2, "Server-sent events"). */

#define SSE_TYPE "text/event-stream"

/* An event; id may be NULL (the last one stays), data may have lines. event and id have none. */
void sse_put_event(StrBuf *b, const char *event, const char *id, const char *data);
/* From here on a client that connects again names this id; no event. */
void sse_put_id(StrBuf *b, const char *id);
/* A line that says nothing to a program. */
void sse_put_comment(StrBuf *b, const char *text);
/* How long a client waits before it connects again. */
void sse_put_retry(StrBuf *b, unsigned msec);
