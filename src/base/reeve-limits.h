/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Every limit on what a user can make grow. Each has a config key, a line in a man page and a test;
 * the number here is the default, or, where no key is named, the fixed bound. (Not named limits.h:
 * that would hide the C library's.) */

#define REEVE_NAME_MAX            64U /* bytes of a kind's, queue's, pool's, flag's or tenant's name */
#define REEVE_SUBJECT_MAX         256U /* bytes of a subject */
#define REEVE_REASON_MAX          500U /* bytes of an operator's reason */
#define REEVE_PAYLOAD_INLINE_MAX  (64UL * 1024) /* larger payloads and results are blobs */
#define REEVE_RESULT_MAX          (1024UL * 1024) /* a handler's result on stdout */
#define REEVE_RESULT_DEPTH_MAX    128U /* nesting of a handler's result */
#define REEVE_LOG_TAIL_MAX        (16UL * 1024) /* of a run's stderr, kept in the database */
#define REEVE_LOG_LINE_MAX        (8UL * 1024) /* a longer line of stderr is cut */
#define REEVE_PROGRESS_LINE_MAX   (4UL * 1024) /* a line on a handler's fd 3 */
#define REEVE_STATUS_TEXT_MAX     200U /* bytes of a progress status */
#define REEVE_ATTEMPTS_MAX        1000U /* MaxAttempts= */
#define REEVE_INTERRUPTIONS_MAX   10U /* MaxInterruptions=: then a job is poison */
#define REEVE_INTERRUPTIONS_BOUND 100U /* of MaxInterruptions= */
#define REEVE_CHILDREN_MAX        10000U /* children asked for by one run */
#define REEVE_JOIN_FILES_MAX      900U /* files of a job's children, inputs of its join phase */
#define REEVE_OUTPUT_FILES_MAX    1000U /* files in a run's output directory */
#define REEVE_OUTPUT_BYTES_MAX    (1ULL << 30) /* bytes of them together */
#define REEVE_RECYCLE_JOBS_MAX    1000000000U /* RecycleJobs= of a pool */
#define REEVE_SLOTS_MAX           512U /* Slots= of a pool */
#define REEVE_CONF_FILE_MAX       (1024UL * 1024) /* bytes of a configuration or .kind file */
#define REEVE_CONF_LINE_MAX       (64UL * 1024) /* bytes of a logical line in it */
#define REEVE_JSON_DEPTH_MAX      32U /* nesting of JSON that Reeve itself reads */
#define REEVE_CLAIM_BATCH_MAX     500U /* jobs claimed by one statement */
#define REEVE_KEY_WORDS_MAX       4U /* parts of a ConcurrencyKey= */
#define REEVE_KEY_WORD_MAX        256U /* bytes of each of them */
#define REEVE_CLAIM_LANES_MAX     64U /* lanes looked at by one claim */
#define REEVE_ENQUEUE_BATCH_MAX   10000U /* jobs of one bulk request */
#define REEVE_MIGRATION_MAX       (1024UL * 1024) /* bytes of a migration's script */
#define REEVE_RATE_MAX            1000000U /* Concurrency=, MaxRuns= and the number in RateLimit= */
/* Every time span of a .kind, pool or reeve.conf file that is not infinite: ten years. */
#define REEVE_SPAN_MAX_USEC        (3650ULL * 86400 * 1000000)
#define REEVE_RETRY_HINT_MAX_USEC  (7ULL * 86400 * 1000000) /* a handler's "retry after" */
#define REEVE_LEASE_USEC           (60ULL * 1000000) /* of a run that is pulled; LeaseSec= */
#define REEVE_LEASE_MIN_USEC       (1ULL * 1000000) /* of LeaseSec= */
#define REEVE_LEASE_MAX_USEC       (86400ULL * 1000000) /* of LeaseSec= */
#define REEVE_PULL_MAX             100U /* runs given by one claim */
#define REEVE_PULLERS_MAX          1000U /* claims that wait at a time */
#define REEVE_WORKERS_MAX          64U /* Min= and Max= of a pool: its worker instances on a host */
#define REEVE_POOL_QUEUES_MAX      256U /* names in Queues= */
#define REEVE_UPLOAD_MAX           (1ULL << 30) /* bytes of one uploaded file; UploadMax= */
#define REEVE_BODY_MAX             (16ULL << 20) /* bytes of any other request body; BodyMax= */
#define REEVE_KEEP_JOBS_USEC       (90ULL * 86400 * 1000000) /* records of ended jobs; KeepJobs= */
#define REEVE_ORPHAN_USEC          (3600ULL * 1000000) /* a file that no job names; OrphanSec= */
#define REEVE_RATE                 100U /* requests an hour of a key by a route that is limited; Rate= */
#define REEVE_RATE_MAX             1000000U /* of Rate= and RouteRate= */
#define REEVE_FLAGS_MAX            1000U /* flags, archived ones too */
#define REEVE_FLAG_PERCENT_MAX     100000U /* a flag's percentage has steps of 0.001: everybody */
#define REEVE_FLAG_ALLOW_MAX       1000U /* subjects on a flag's allow list */
#define REEVE_FLAG_RULES_BYTES_MAX (64UL * 1024) /* a flag's rules as JSON */
#define REEVE_FLAG_RULES_MAX       64U /* of a flag */
#define REEVE_FLAG_QUEUES_MAX      16U /* queues that a flag guards */
#define REEVE_FLAG_VALUE_MAX       (4UL * 1024) /* bytes of JSON that a flag gives as its value */
#define REEVE_FLAG_SEED_MAX        64U /* bytes */
#define REEVE_DESCRIPTION_MAX      500U /* bytes of a flag's description */

/* HTTP: what a client may send. */
#define REEVE_HTTP_TARGET_MAX 4096U /* bytes of a request's path and query */
#define REEVE_HTTP_HEAD_MAX   (8UL * 1024) /* bytes of a request's line and fields; HeadMax= */
#define REEVE_HTTP_HEAD_BOUND (64UL * 1024) /* of HeadMax= */
#define REEVE_HTTP_CONNECTIONS_MAX                                                                 \
        1024U /* open at a time, more wait in the kernel; Connections=                             \
               */
/* Of Connections=. Each may have a file and a few more open beside it (LimitNOFILE= of the unit).
 */
#define REEVE_HTTP_CONNECTIONS_BOUND 4096U
#define REEVE_HTTP_OTHERS            64U /* of so many connections one is left to other clients */
#define REEVE_HTTP_HEAD_USEC         10000000ULL /* for a head; HeadSec= */
#define REEVE_HTTP_BODY_USEC         30000000ULL /* for a body, and by its size; BodySec= */
#define REEVE_HTTP_SEND_USEC         30000000ULL /* to take a reply, and by its size; SendSec= */
#define REEVE_HTTP_IDLE_USEC         60000000ULL /* between requests; IdleSec= */
#define REEVE_HTTP_RATE_MIN          4096U /* bytes per second that earn a body or a reply more time */
#define REEVE_HTTP_FIELDS_MAX        64U /* header fields of a request */
#define REEVE_HTTP_SEGMENTS_MAX      16U /* segments of a request's path */
#define REEVE_HTTP_PARAMS_MAX        8U /* {params} of a route */
#define REEVE_HTTP_QUERY_MAX         32U /* parameters of a query */
#define REEVE_HTTP_PART_NAME_MAX     255U /* bytes of a form field's name, file name or type */
#define REEVE_HTTP_PART_HEADER_MAX   (4UL * 1024) /* bytes of a form part's header */

/* Streams of events. */
#define REEVE_EVENT_STREAMS_MAX  1000U /* at a time; EventStreams= */
#define REEVE_EVENT_BUFFER_MAX   (8UL << 20) /* bytes kept for readers behind; EventBufferMax= */
#define REEVE_EVENT_COMMENT_USEC 15000000ULL /* of silence, then a comment; EventCommentSec= */
#define REEVE_EVENT_OPEN_MAX     256U /* open transactions that an event's id can name */
#define REEVE_EVENT_PAGE_MAX     100U /* changes read by one statement */
#define REEVE_EVENT_RETRY_MSEC   2000U /* after which a client is to connect again */
