/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "json-reader.h"
#include "run-packet.h"
#include "strbuf.h"
#include "time-util.h"

/* The frames between a worker and a launcher (version 1), as plain structs.
 *
 * GLOSSARY
 * worker    asks for runs, holds the connection
 * launcher  reeve-exec in a run's unit; the worker does not trust its word: decoding checks every
 *           type and bound, the caller checks that run_id is its own
 *
 * To encode, strings are borrowed from the caller; after decoding they belong to the frame. */

#define RUN_PROTOCOL_VERSION 1U
#define RUN_INPUTS_MAX       1000U /* files that a run can be given */
#define RUN_FILE_NAME_MAX    255U /* bytes of an output file's name, its directories included */

typedef enum RunFrameType {
        RUN_FRAME_HELLO, /* launcher: I am this unit */
        RUN_FRAME_STARTED,
        RUN_FRAME_PROGRESS,
        RUN_FRAME_ALIVE,
        RUN_FRAME_EXTEND, /* the handler asks for more time */
        RUN_FRAME_FILE, /* an output file; 1 descriptor */
        RUN_FRAME_END, /* 1 descriptor if there is a result */
        RUN_FRAME_READY, /* the slot can take another run */
        RUN_FRAME_RUN, /* worker: descriptors of the payload and each input */
        RUN_FRAME_INPUTS, /* worker: more inputs, their descriptors */
        RUN_FRAME_STOP, /* worker: end this run */
        _RUN_FRAME_TYPE_MAX,
} RunFrameType;

/* Why a run has ended. */
typedef enum RunCause {
        RUN_EXIT, /* by itself, with an exit status */
        RUN_SIGNAL, /* by a signal that was not ours */
        RUN_OOM_KILL, /* the kernel, at the unit's memory limit */
        RUN_TIMEOUT,
        RUN_WATCHDOG, /* gave no sign of life */
        RUN_CANCELLED, /* RUN_FRAME_STOP said so; exit and result tell how far it came */
        RUN_DRAINED, /* the same */
        RUN_NOT_EXECUTABLE,
        RUN_MISSING, /* there is no such program */
        RUN_INPUT_ERROR, /* payload or inputs could not be put in place; log says why */
        _RUN_CAUSE_MAX,
} RunCause;

typedef enum RunResult {
        RUN_RESULT_NONE, /* nothing was written: null */
        RUN_RESULT_OK, /* one JSON value */
        RUN_RESULT_NOT_JSON,
        RUN_RESULT_TOO_LARGE,
        RUN_RESULT_TEXT, /* UTF-8 text (Output=text) */
        _RUN_RESULT_MAX,
} RunResult;

typedef struct RunInput {
        const char *name;
        uint64_t size; /* bytes */
} RunInput;

typedef struct RunFrame {
        RunFrameType type;
        int64_t run_id; /* > 0; 0 in hello and ready */
        union {
                struct {
                        unsigned version;
                        const char *unit;
                        pid_t pid;
                } hello;
                struct {
                        pid_t pid;
                } started;
                struct {
                        int progress; /* 0 to 100, -1: not known */
                        const char *status; /* NULL: none; at most REEVE_STATUS_TEXT_MAX bytes */
                } progress;
                struct {
                        usec_t usec; /* from now */
                } extend;
                struct {
                        const char *name; /* as run_file_name_is_valid() has it */
                        uint64_t size;
                } file;
                struct {
                        RunCause cause;
                        int exit; /* 0 to 255, -1: did not exit */
                        int signal; /* 0: none */
                        bool core;
                        RunResult result;
                        uint64_t result_size;
                        const char *log; /* the last of stderr; never NULL after decoding */
                        bool log_truncated;
                        usec_t cpu_usec, wall_usec;
                        uint64_t max_rss; /* bytes */
                        const char *output_error; /* NULL: all output files were sent */
                        /* A persistent handler's answer instead of a result, or with
                         * RUN_INPUT_ERROR what the host lacks: NULL, or code, message, again? */
                        const char *error_code, *error_message;
                        bool error_retry;
                } end;
                struct {
                        const char *job_id; /* a UUID */
                        const char *kind, *queue, *tenant;
                        const char *subject; /* NULL: none */
                        unsigned attempt;
                        bool join; /* phase "join", else "run" */
                        usec_t timeout_usec; /* 0: the unit's own */
                } run;
                struct {
                        RunCause reason; /* RUN_CANCELLED or RUN_DRAINED */
                } stop;
        };
        /* of run and inputs frames */
        RunInput *inputs; /* names are not checked: run_file_name_is_valid() */
        unsigned n_inputs;
        bool more; /* an inputs frame follows */

        JsonDocument *document; /* after decoding: owns the strings, and inputs is owned too */
} RunFrame;

/* Frees what a decoded frame owns. */
void run_frame_done(RunFrame *f);

/* Writes the frame to out, which is emptied first. Returns 0, -EMSGSIZE (above RUN_PACKET_MAX) or
 * -ENOMEM. */
int run_frame_encode(const RunFrame *f, StrBuf *out);

/* Encodes and sends it. Returns as run_frame_encode() and run_packet_send() do. */
int run_frame_send(int sock, const RunFrame *f, const int *fds, unsigned n_fds);

/* Decodes a frame that came with n_fds descriptors. Returns 0, -EBADMSG (*e, may be NULL, says what
 * is wrong: not JSON, a wrong type or bound, another number of descriptors) or -ENOMEM. */
int run_frame_decode(const char *text, size_t size, unsigned n_fds, RunFrame *ret, JsonError *e);

/* A relative path without "." or ".." or empty parts, control characters and bytes that are not
 * UTF-8, at most RUN_FILE_NAME_MAX bytes. */
bool run_file_name_is_valid(const char *name);
/* An input's: without directories, but for children/INDEX/NAME and children/INDEX.json. */
bool run_input_name_is_valid(const char *name);

const char *run_cause_to_string(RunCause cause);
const char *run_result_to_string(RunResult result);
