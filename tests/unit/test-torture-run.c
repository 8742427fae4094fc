/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run is made of, from kinds and flags to files and verdicts: each allocation of each call
 * fails in turn (torture.h). */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob.h"
#include "config-load.h"
#include "exec-log.h"
#include "exec-options.h"
#include "exec-progress.h"
#include "exec-spawn.h"
#include "fd-util.h"
#include "flag-set.h"
#include "lane-table.h"
#include "memfd-util.h"
#include "migration-files.h"
#include "namesake.h"
#include "pdf-merge.h"
#include "run-frame.h"
#include "torture.h"
#include "unit-text.h"
#include "verdict.h"

#define WRONG (-EPROTO)

static char dir[] = "/tmp/test-torture-XXXXXX";

static char *path_of(char buf[static 160], const char *name)
{
        (void) snprintf(buf, 160, "%s/%s", dir, name);
        return buf;
}

static void make_dir(const char *name)
{
        char path[160];

        assert_int_equal(mkdir(path_of(path, name), 0755), 0);
}

static void put_file(const char *name, const char *text)
{
        char path[160];
        _cleanup_(closep) int fd = -EBADF;

        fd = open(path_of(path, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void count(void *userdata, ConfLevel level, const char *file, unsigned line, const char *s)
{
        (*(unsigned *) userdata)++;
}

/* ---- files of kinds, and units ---- */

static int load_kinds(void *userdata)
{
        _cleanup_(kind_set_freep) KindSet *s = NULL;
        unsigned n = 0;
        int r = kinds_load(dir, count, &n, &s);

        if (r < 0)
                return s ? WRONG : r;
        /* One that is refused for want of memory would be held: that is no outcome. */
        return s->n_kinds == 2 && s->n_refused == 1 && kind_set_find(s, "a") ? 0 : WRONG;
}

static int load_a_kind(void *userdata)
{
        _cleanup_(kind_freep) Kind *k = NULL;
        char path[160];
        unsigned n = 0;
        int r = kind_load_file(path_of(path, "etc/reeve/kinds/a.kind"), count, &n, &k);

        return r < 0 && (k || n > 0) ? WRONG : r;
}

static int load_a_pool(void *userdata)
{
        _cleanup_(pool_freep) Pool *p = NULL;
        unsigned n = 0;
        int r = pool_load(dir, "default", count, &n, &p);

        return r < 0 && (p || n > 0) ? WRONG : r;
}

static int load_settings(void *userdata)
{
        _cleanup_(settings_done) Settings s = {};
        unsigned n = 0;
        int r = settings_load(dir, count, &n, &s);

        return r < 0 ? (n > 0 ? WRONG : r) : s.peers.n_items == 1 ? 0 : WRONG;
}

static int write_units(void *userdata)
{
        _cleanup_(kind_freep) Kind *k = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        const Kind *all[1];
        char path[160];
        int r;

        torture_hold();
        r = kind_load_file(path_of(path, "etc/reeve/kinds/a.kind"), NULL, NULL, &k);
        torture_release();
        if (r < 0)
                return WRONG;
        all[0] = k;
        unit_text_socket(&b, k, path, true);
        unit_text_service(&b, k, path, true);
        unit_text_timer(&b, k, path);
        unit_text_worker(&b, all, 1);
        return strbuf_error(&b);
}

static int read_migrations(void *userdata)
{
        MigrationFiles f = {};
        _cleanup_(freep) char *text = NULL, *destroys = NULL;
        char path[160];
        int r = migration_files_read(path_of(path, "migrations"), &f, &text);

        if (r >= 0)
                r = f.n == 2 ? 0 : WRONG;
        else if (r != -ENOMEM)
                r = WRONG;
        if (r >= 0)
                r = migration_destroys(f.files[1].down, &destroys);
        migration_files_done(&f);
        return r;
}

/* ---- blobs ---- */

static int keep_a_blob(void *userdata)
{
        _cleanup_(blob_store_freep) BlobStore *s = NULL;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        _cleanup_(blob_walk_freep) BlobWalk *walk = NULL;
        _cleanup_(closep) int fd = -EBADF;
        char digest[BLOB_DIGEST_MAX], path[160];
        BlobEntry e;
        uint64_t size;
        int r = blob_store_open(path_of(path, "blobs"), &s);

        if (r >= 0)
                r = blob_store_check_writable(s);
        if (r >= 0)
                r = blob_writer_new(s, "t", 1 << 20, &w);
        if (r >= 0)
                r = blob_writer_append(w, "some bytes", 10);
        if (r >= 0)
                r = blob_writer_commit(w, digest);
        if (r >= 0) {
                fd = blob_open_read(s, "t", digest, &size);
                r = fd < 0 ? fd : 0;
        }
        if (r >= 0)
                r = blob_walk_new(s, &walk);
        while (r >= 0 && (r = blob_walk_next(walk, &e)) > 0)
                ;
        if (r >= 0)
                r = blob_remove(s, "t", digest, 0);
        return r > 0 ? WRONG : r;
}

/* ---- frames ---- */

static const RunInput inputs[] = { { "doc.pdf", 5 }, { "b.txt", 0 } };
static const RunFrame frames[] = {
        { RUN_FRAME_HELLO, .hello = { 1, "u@1.service", 7 } },
        { RUN_FRAME_RUN, 9,
                .run = { "0192f0a1-7b3c-7def-8123-456789abcdef", "k", "q", "t", "s", 1, false, 0 },
                .inputs = (RunInput *) inputs, .n_inputs = 2 },
        { RUN_FRAME_END, 9,
                .end = { .cause = RUN_EXIT,
                        .exit = 1,
                        .log = "some\nlines\n",
                        .error_code = "E",
                        .error_message = "m" } },
        { RUN_FRAME_PROGRESS, 9, .progress = { 40, "page 4" } },
};
static const unsigned n_descriptors_of[] = { 0, 3, 0, 0 };

static int code_frames(void *userdata)
{
        for (size_t i = 0; i < ELEMENTSOF(frames); i++) {
                _cleanup_(run_frame_done) RunFrame f = {};
                _cleanup_(strbuf_done) StrBuf b = {};
                JsonError e = {};
                int r = run_frame_encode(frames + i, &b);

                if (r >= 0)
                        r = run_frame_decode(strbuf_str(&b), b.len, n_descriptors_of[i], &f, &e);
                if (r < 0)
                        return e.text[0] ? WRONG : r;
                if (f.type != frames[i].type)
                        return WRONG;
        }
        return 0;
}

static int send_a_frame(void *userdata)
{
        _cleanup_(closep) int a = -EBADF, b = -EBADF, memfd = -EBADF;
        _cleanup_(run_packet_done) RunPacket p = {};
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return WRONG;
        a = pair[0];
        b = pair[1];
        memfd = memfd_new_sealed("test", "12345", 5);
        if (memfd < 0)
                return memfd;
        r = run_frame_send(a, frames + 3, &memfd, 1);
        if (r >= 0)
                r = run_packet_receive(b, &p);
        if (r >= 0)
                r = p.n_fds == 1 ? memfd_read(p.fds[0], 100, &text, &size) : WRONG;
        return r < 0 || streq(text, "12345") ? r : WRONG;
}

/* ---- the launcher ---- */

static int make_dirs(void *userdata)
{
        ExecDirs d;
        ExecOutputs outputs = {};
        _cleanup_(closep) int fd = -EBADF, notify = -EBADF;
        char path[160];
        int r = exec_dirs_make(&d);

        fd = open(path_of(path, "etc/reeve/reeve.conf"), O_RDONLY | O_CLOEXEC);
        if (r >= 0 && exec_dirs_put_input(&d, "children/0/a.txt", fd) < 0)
                r = -ENOMEM; /* checked by what is left */
        if (r >= 0)
                r = exec_dirs_seal_inputs(&d);
        if (r >= 0) {
                notify = exec_dirs_bind_notify(&d);
                r = notify < 0 ? notify : 0;
        }
        if (r >= 0)
                r = mkdirat(d.output_fd, "b", 0755) < 0 ? WRONG : 0;
        if (r >= 0)
                r = exec_outputs_list(&d, &outputs);
        exec_outputs_done(&outputs);
        if (r >= 0)
                r = exec_dirs_clean(&d);
        torture_hold(); /* what it cannot remove goes with the unit's /tmp */
        exec_dirs_done(&d);
        return r > 0 ? 0 : r;
}

static int list_outputs(void *userdata)
{
        const ExecDirs *d = userdata;
        ExecOutputs o = {};
        int r = exec_outputs_list(d, &o);

        if (r >= 0 && (o.n != 3 || o.error))
                r = WRONG;
        exec_outputs_done(&o);
        return r;
}

static int make_environment(void *userdata)
{
        static const ExecDirs dirs = { (char *) "/b", (char *) "/i", (char *) "/o", (char *) "/n" };
        _cleanup_(exec_env_freep) char **base = exec_env_base(), **env = NULL;

        if (!base)
                return -ENOMEM;
        env = exec_env_make(base, &dirs, frames + 1);
        return env ? 0 : -ENOMEM;
}

static int read_words_of_a_handler(void *userdata)
{
        static ExecLog log;
        _cleanup_(strbuf_done) StrBuf b = {};
        ExecProgress p;
        static const char line[] = "{\"progress\":40,\"status\":\"x\"}\n";

        exec_progress_reset(&p);
        exec_progress_feed(&p, 7, line, CONST_STRLEN(line));
        exec_log_reset(&log, 0);
        memcpy(log.tail, "a\xff", 2);
        log.total = 2;
        exec_log_tail(&log, &b);
        if (strbuf_error(&b) < 0)
                return -ENOMEM;
        /* A line that cannot be looked at is one that was not understood. */
        return p.progress == 40 ? 0 : p.n_bad == 1 && p.bad[0] ? -ENOMEM : WRONG;
}

/* ---- the worker ---- */

static int judge(void *userdata)
{
        static char *start[] = { (char *) "/bin/handler", NULL };
        static const Kind kind = { .name = (char *) "k", .exec.start = start };
        static const char result[] = "{\"$reeve\":{\"spawn\":[{\"kind\":\"a\"}]}}";
        const RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = RUN_EXIT, .result = RUN_RESULT_OK, .log = "" } };
        const VerdictInput in = { .kind = &kind, .end = &end, .result = result, .max_attempts = 3 };
        Verdict v = {};
        int r = verdict_of_run(&in, &v);

        if (r >= 0 && !streq(v.state, "waiting"))
                r = WRONG;
        free(v.children);
        return r;
}

static int know_lanes(void *userdata)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        _cleanup_(freep) int64_t *known = NULL;
        int r = 0;

        for (int i = 0; i < 40 && r >= 0; i++) {
                const StoreLane l = { 40 - i, "q", "k", "t", 5 };
                unsigned n = t.n;

                r = lane_table_add(&t, &l, true);
                if (r < 0 && t.n != n)
                        return WRONG;
        }
        if (r >= 0)
                r = lane_table_known(&t, &known);
        return r < 0 ? r : known[0] == 1 && known[39] == 40 ? 0 : WRONG;
}

static int know_rules(void *userdata)
{
        static const StoreClaimRule rules[] = { { "a", true }, { "k", false }, { "b", true } };
        ClaimRules r = {};
        int e = claim_rules_set(&r, rules, 1);

        if (e >= 0) {
                e = claim_rules_set(&r, rules, 3);
                if (e < 0 && !r.paused)
                        e = WRONG;
        }
        claim_rules_done(&r);
        return e;
}

static int know_ourselves(void *userdata)
{
        _cleanup_(freep) char *process = NULL, *machine = NULL;
        int r = namesake_identify(&process, &machine);

        if (r < 0)
                return process || machine ? WRONG : r;
        return process ? 0 : WRONG;
}

/* Whether another one lives is not doubted for want of memory. */
static int look_at_another(void *userdata)
{
        _cleanup_(freep) char *process = NULL, *machine = NULL;
        char own[256];
        int r;

        torture_hold();
        r = namesake_identify(&process, &machine);
        torture_release();
        if (r < 0 || !process)
                return WRONG;
        (void) snprintf(own, sizeof(own), "%s0", process);
        return namesake_find(process, NULL, own, NULL) == NAMESAKE_HERE ? 0 : WRONG;
}

/* ---- flags ---- */

static int read_flag(void *userdata)
{
        static const StoreFlag row = { .key = "f",
                .enabled = true,
                .percent = 500,
                .bucketing = "murmur3",
                .seed = "s",
                .allow = "[\"a\",\"b\"]",
                .rules = "[{\"property\":\"p\",\"op\":\"in\",\"value\":[\"x\",1,true]}]",
                .value_on = "true",
                .value_off = "false",
                .on_stale = "keep" };
        Flag f = {};
        JsonError e = {};
        int r = flag_from_store(&row, &f, &e);

        if (r == -ENOMEM && e.text[0])
                r = WRONG;
        flag_done(&f);
        return r;
}

/* ---- the join of a document ---- */

static int join_chunks(void *userdata)
{
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        _cleanup_(closep) int in = -EBADF, out = -EBADF;
        _cleanup_(strbuf_done) StrBuf b = {};
        const PdfPlan p = pdf_plan(31);
        char path[160], page[32];
        int r;

        in = open(path_of(path, "in"), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        out = open(path_of(path, "out"), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        r = pdf_merge_new(&p, in, &m);
        if (r >= 0)
                r = pdf_merge_write(m, out);
        if (r >= 0)
                r = pdf_merge_result(m, &b);
        for (unsigned i = 1; i <= 31; i++) {
                (void) snprintf(page, sizeof(page), "page-%04u.txt", i);
                (void) unlinkat(out, page, 0);
        }
        return r < 0 || pdf_merge_n_succeeded(m) == 2 ? r : WRONG;
}

/* ---- */

static void test_files(void **state)
{
        static const TortureCase cases[] = {
                { "kinds_load", load_kinds, NULL, false },
                { "kind_load_file", load_a_kind, NULL, false },
                { "pool_load", load_a_pool, NULL, false },
                { "settings_load", load_settings, NULL, false },
                { "unit_text", write_units, NULL, false },
                { "migration_files_read", read_migrations, NULL, false },
                { "blob", keep_a_blob, NULL, false },
                {},
        };

        torture_all(cases);
}

static void test_runs(void **state)
{
        static const TortureCase cases[] = {
                { "run_frame", code_frames, NULL, false },
                { "run_frame_send", send_a_frame, NULL, false },
                { "exec_dirs", make_dirs, NULL, false },
                { "exec_env", make_environment, NULL, false },
                { "exec_progress and exec_log", read_words_of_a_handler, NULL, false },
                { "verdict_of_run", judge, NULL, false },
                { "lane_table", know_lanes, NULL, false },
                { "claim_rules", know_rules, NULL, false },
                { "namesake_identify", know_ourselves, NULL, false },
                { "namesake_find", look_at_another, NULL, true },
                { "flag_from_store", read_flag, NULL, false },
                { "pdf_merge", join_chunks, NULL, false },
                {},
        };

        torture_all(cases);
}

static void test_outputs(void **state)
{
        ExecDirs d = { .output_fd = -EBADF };
        char path[160];
        const TortureCase c = { "exec_outputs_list", list_outputs, &d, false };

        d.output_fd = open(path_of(path, "outputs"), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        assert_true(d.output_fd >= 0);
        assert_true(torture(&c) > 3);
        d.output_fd = safe_close(d.output_fd);
}

static int setup(void **state)
{
        static const char *const dirs[] = { "etc", "etc/reeve", "etc/reeve/kinds",
                "etc/reeve/pools", "bin", "migrations", "blobs", "in", "in/children",
                "in/children/0", "in/children/1", "out", "outputs", "outputs/d", "tmp" };
        char path[160];

        assert_non_null(mkdtemp(dir));
        for (size_t i = 0; i < ELEMENTSOF(dirs); i++)
                make_dir(dirs[i]);
        put_file("bin/a", "#!/bin/sh\n");
        put_file("etc/reeve/kinds/a.kind",
                "[Kind]\nOnCalendar=daily\n[Exec]\nStart=/bin/a \"b c\" 100%\nJoin=/bin/a\n"
                "[Service]\nMemoryMax=1G\n");
        put_file("etc/reeve/kinds/b.kind", "[Pull]\nLeaseSec=1min\n");
        put_file("etc/reeve/kinds/c.kind", "[Exec]\n");
        put_file("etc/reeve/pools/default.conf", "[Pool]\nQueues=a b\n");
        put_file("etc/reeve/reeve.conf", "[Peer]\nAllow=www submit shop\n");
        put_file("migrations/0001_a.up.sql", "select 1;\n");
        put_file("migrations/0002_b.up.sql", "select 2;\n");
        put_file("migrations/0002_b.down.sql", "-- Destructive: all of it\nselect 3;\n");
        put_file("in/children.ndjson",
                "{\"state\":\"succeeded\",\"result\":{\"pages\":[[1,3],[20,4]],\"failed\":[]}}\n"
                "{\"state\":\"succeeded\",\"result\":{\"pages\":[[20,4],[31,5]]}}\n");
        put_file("in/children/0/text", "oneTWO\n");
        put_file("in/children/1/text", "two\nthree");
        put_file("outputs/a", "1");
        put_file("outputs/d/b", "2");
        put_file("outputs/d/c", "3");
        return setenv("TMPDIR", path_of(path, "tmp"), 1); // NOLINT(concurrency-mt-unsafe)
}

static int teardown(void **state)
{
        char command[128];

        (void) snprintf(command, sizeof(command), "rm -r %s", dir);
        return system(command); // NOLINT(cert-env33-c): a path from mkdtemp
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_runs),
                cmocka_unit_test(test_outputs),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
