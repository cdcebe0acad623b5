/* test_base.c - the ground floor: bytes from outside, counted memory, errors' one line, half
 * precision against a reference in doubles, mapped and atomic files, the thread pool. The program
 * is also run under the thread sanitizer. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- reader ---- */

static void test_reader(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
                                    0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x00, 0x00, 0xc0, 0x3f, 0x00,
                                    0x00, 0x00, 0x00, 0x00, 0x00, 0xf4, 0xbf};
    base_reader r;
    base_reader_init(&r, bytes, sizeof bytes);
    assert_int_equal(base_read_u8(&r), 0x01);
    assert_int_equal(base_read_u16(&r), 0x0302);
    assert_int_equal(base_read_u32(&r), 0x07060504);
    assert_true(base_read_u64(&r) == 0x0f0e0d0c0b0a0908u);
    assert_true(base_read_f32(&r) == 1.5f);
    assert_true(base_read_f64(&r) == -1.25);
    assert_true(r.at == sizeof bytes && !r.failed);
    assert_non_null(base_read_bytes(&r, 0));
    assert_null(base_read_bytes(&r, 1));
    assert_true(r.failed);

    /* past the end, whatever is asked for: zero, for good, and the place does not move */
    for (size_t size = 0; size < 8; size++) {
        base_reader_init(&r, bytes, size);
        assert_true(base_read_u64(&r) == 0 && r.failed && r.at == 0);
        assert_int_equal(base_read_u8(&r), 0);
        assert_null(base_read_bytes(&r, 0));
    }
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 3, SIZE_MAX / 2, sizeof bytes};
    for (size_t i = 0; i < COUNT(huge); i++) {
        base_reader_init(&r, bytes, sizeof bytes);
        base_read_u32(&r);
        assert_null(base_read_bytes(&r, huge[i])); /* at + n would wrap round */
        assert_true(r.failed && r.at == 4);
    }
    base_reader_init(&r, NULL, 0);
    assert_int_equal(base_read_u32(&r), 0);
}

static void test_sizes(void **state)
{
    (void)state;
    size_t out = 7;
    assert_true(base_mul_size(SIZE_MAX / 2, 2, &out) && out == SIZE_MAX - 1);
    assert_false(base_mul_size(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(out == SIZE_MAX - 1);
    assert_true(base_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(base_add_size(SIZE_MAX, 1, &out));
    assert_true(base_align_up(0, 64) == 0 && base_align_up(1, 64) == 64 && base_align_up(64, 64) == 64);
}

/* ---- memory ---- */

static void test_memory(void **state)
{
    (void)state;
    base_memory before, now;
    base_memory_read(&before);
    void *blocks[64];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = base_alloc(BASE_TAG_IMAGE, i * 37);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % BASE_ALIGNMENT, 0);
        memset(blocks[i], 0xa5, i * 37);
    }
    size_t sum = 37 * 63 * 64 / 2;
    base_memory_read(&now);
    assert_int_equal(now.live_bytes[BASE_TAG_IMAGE] - before.live_bytes[BASE_TAG_IMAGE], sum);
    assert_int_equal(now.live_bytes[BASE_TAG_NN], before.live_bytes[BASE_TAG_NN]);
    assert_int_equal(now.live_total - before.live_total, sum);
    assert_int_equal(now.allocations - before.allocations, 64);
    assert_true(now.peak_total >= now.live_total);
    for (size_t i = 0; i < COUNT(blocks); i++)
        base_free(blocks[i]);
    base_free(NULL);
    base_memory_read(&now);
    assert_int_equal(now.live_total, before.live_total);
    assert_true(now.peak_total >= before.live_total + sum);

    uint8_t *p = base_calloc(BASE_TAG_NN, 10, 10);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(p[i], 0);
        p[i] = (uint8_t)i;
    }
    p = base_realloc(BASE_TAG_NN, p, 1000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], i);
    p = base_realloc(BASE_TAG_NN, p, 5);
    assert_int_equal(p[4], 4);
    base_memory_read(&now);
    assert_int_equal(now.live_bytes[BASE_TAG_NN] - before.live_bytes[BASE_TAG_NN], 5);

    base_memory_fail_at(1);
    assert_null(base_realloc(BASE_TAG_NN, p, 2000)); /* keeps what it had */
    assert_int_equal(p[4], 4);
    base_free(p);
    base_memory_fail_at(2);
    char *first = base_strdup(BASE_TAG_CLI, "one"), *second = base_strdup(BASE_TAG_CLI, "two");
    char *third = base_strdup(BASE_TAG_CLI, "three");
    assert_string_equal(first, "one");
    assert_null(second);
    assert_string_equal(third, "three"); /* once only */
    base_free(first);
    base_free(third);

    assert_null(base_alloc(BASE_TAG_BASE, SIZE_MAX));
    assert_null(base_alloc(BASE_TAG_BASE, SIZE_MAX - 100));
    assert_null(base_calloc(BASE_TAG_BASE, SIZE_MAX / 2, 3));
    base_memory_read(&now);
    assert_int_equal(now.live_total, before.live_total);
    assert_true(base_rss_bytes() > 0 && base_rss_peak_bytes() >= base_rss_bytes() / 2);
}

/* ---- errors ---- */

static void test_errors(void **state)
{
    (void)state;
    bool seen[256] = {false};
    for (int s = 0; s < DERMIS_STATUS_COUNT; s++) {
        assert_true(strlen(base_status_name((dermis_status)s)) > 0);
        assert_true(strlen(base_status_text((dermis_status)s)) > 0);
        int code = base_status_exit((dermis_status)s);
        assert_true(code >= 0 && code < 256 && !seen[code]); /* a shell can tell them apart */
        seen[code] = true;
        assert_true(base_status_http((dermis_status)s) >= 200 && base_status_http((dermis_status)s) < 600);
    }
    assert_string_equal(base_status_name((dermis_status)9999), "internal");
    assert_string_equal(base_status_name((dermis_status)-1), "internal");

    dermis_error err = {DERMIS_OK, "untouched"};
    assert_int_equal(base_fail(NULL, DERMIS_E_IO, "%d", 1), DERMIS_E_IO);
    assert_int_equal(base_fail(&err, DERMIS_E_IO, "a\nb\x1b[31mc\x7f \xc2\x9b \xc3\xa9 \xf0\x9f\x98\x80"), DERMIS_E_IO);
    assert_string_equal(err.text, "a?b?[31mc? ?? \xc3\xa9 \xf0\x9f\x98\x80");
    base_fail(&err, DERMIS_E_IO, "\xff \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82");
    assert_string_equal(err.text, "? ?? ??? ???? ??"); /* invalid, overlong, surrogate, too high, cut */
    base_fail(&err, DERMIS_E_MEMORY, "cause");
    assert_int_equal(base_fail_prefix(&err, "%s %d", "file", 3), DERMIS_E_MEMORY);
    assert_string_equal(err.text, "file 3: cause");
    base_fail(&err, DERMIS_E_USAGE, "again: %s", err.text); /* from its own text */
    assert_string_equal(err.text, "again: file 3: cause");

    char wide[DERMIS_ERROR_TEXT_BYTES * 2]; /* a cut through a character leaves no half of it */
    for (size_t i = 0; i < sizeof wide - 1; i++)
        wide[i] = i % 2 ? '\xa9' : '\xc3';
    wide[sizeof wide - 1] = 0;
    for (int shift = 0; shift < 2; shift++) {
        base_fail(&err, DERMIS_E_IO, "%.*s%s", shift, "x", wide);
        size_t n = strlen(err.text), each;
        assert_int_equal(n, sizeof err.text - 1);
        for (size_t at = 0; at < n; at += each)
            assert_true((each = base_utf8_next(err.text + at, n - at)) > 0);
    }
    base_fail_prefix(&err, "%s", wide);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void test_utf8(void **state)
{
    (void)state;
    char s[4];
    for (uint32_t c = 0; c < 0x120000; c++) { /* every code point, and some that are none */
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 0;)
            s[i] = (char)(i == 0 ? lead[n] | c >> (6 * (n - 1)) : 0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
        bool valid = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        if (base_utf8_next(s, n) != (valid ? n : 0) || base_utf8_next(s, n - 1) != 0 ||
            base_utf8_next_printable(s, n) != (valid && !control ? n : 0))
            fail_msg("code point %x", c);
    }
}

/* ---- half precision ---- */

static double half_value(uint16_t h) /* from the definition, exact in a double */
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 31 ? (mantissa ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                              : ldexp(mantissa, -24);
    return h & 0x8000 ? -v : v;
}

static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = base_f16_to_f32((uint16_t)h);
        double want = half_value((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(f));
            uint16_t back = base_f32_to_f16(f);
            assert_true((back & 0x7c00) == 0x7c00 && (back & 0x3ff) && (back & 0x8000) == (h & 0x8000));
            continue;
        }
        if ((double)f != want || !signbit(f) != !signbit(want) || base_f32_to_f16(f) != h)
            fail_msg("half %04x: %g for %g, back %04x", h, (double)f, want, base_f32_to_f16(f));
    }
    /* between each two neighbours: the tie goes to the even one, beside it to the nearer */
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = half_value((uint16_t)h);
        double high = h == 0x7bff ? 65536 : half_value((uint16_t)(h + 1)); /* past it: infinity */
        float tie = (float)((low + high) / 2);
        assert_true((double)tie == (low + high) / 2);
        uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
        for (int negative = 0; negative < 2; negative++) {
            float s = negative ? -1.0f : 1.0f;
            uint32_t sign = negative ? 0x8000 : 0;
            if (base_f32_to_f16(s * tie) != (sign | even) ||
                base_f32_to_f16(s * nextafterf(tie, 0)) != (sign | h) ||
                base_f32_to_f16(s * nextafterf(tie, INFINITY)) != (sign | (h + 1)))
                fail_msg("around the tie above half %04x", h);
        }
    }
    static const float big[] = {65520.0f, 65536.0f, 1e10f, 3.4e38f, INFINITY};
    for (size_t i = 0; i < COUNT(big); i++) {
        assert_int_equal(base_f32_to_f16(big[i]), 0x7c00);
        assert_int_equal(base_f32_to_f16(-big[i]), 0xfc00);
    }
    static const float small[] = {0.0f, 1e-45f, 1e-38f, 0x1p-25f};
    for (size_t i = 0; i < COUNT(small); i++) {
        assert_int_equal(base_f32_to_f16(small[i]), 0);
        assert_int_equal(base_f32_to_f16(-small[i]), 0x8000);
    }
}

/* ---- files ---- */

static char folder[] = "/tmp/test_base_XXXXXX";

static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_content(const char *path, const char *text)
{
    uint8_t *data;
    size_t size;
    assert_int_equal(base_file_read(path, 1 << 20, BASE_TAG_BASE, &data, &size, NULL), DERMIS_OK);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
    base_free(data);
}

static unsigned count_files(void)
{
    char command[300];
    unsigned n = 0;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%u", &n), 1);
    pclose(f);
    return n;
}

static void test_map(void **state)
{
    (void)state;
    base_map map = {.fd = -1, .size = 77}, untouched = map;
    dermis_error err = {0};
    assert_int_equal(base_map_open(in_folder("none"), &map, &err), DERMIS_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "none: cannot open"));
    assert_int_equal(base_map_open(folder, &map, &err), DERMIS_E_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
    write_file(in_folder("empty"), "");
    assert_int_equal(base_map_open(in_folder("empty"), &map, &err), DERMIS_E_MODEL_INVALID);
    assert_non_null(strstr(err.text, "empty"));
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(base_map_open(in_folder("pipe"), &map, &err), DERMIS_E_IO); /* and does not wait */
    assert_memory_equal(&map, &untouched, sizeof map);
    base_map_close(&map);
    base_map_close(NULL);

    const char *path = in_folder("text");
    write_file(path, "hello");
    assert_int_equal(base_map_open(path, &map, &err), DERMIS_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    assert_int_equal(base_map_check(&map, path, &err), DERMIS_OK);
    write_file(in_folder("new"), "other");
    assert_int_equal(rename(in_folder("new"), path), 0); /* as a model should be replaced */
    assert_int_equal(base_map_check(&map, path, &err), DERMIS_OK);
    assert_memory_equal(map.data, "hello", 5);
    base_map_close(&map);
    assert_int_equal(base_map_open(path, &map, &err), DERMIS_OK);
    write_file(path, "longer than before"); /* and as it should not */
    assert_int_equal(base_map_check(&map, path, &err), DERMIS_E_MODEL_CHANGED);
    base_map_close(&map);
    base_map_close(&map);
}

static void test_sigbus(void **state)
{
    (void)state;
    const char *path = in_folder("cut");
    write_file(path, "soon gone");
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) { /* no assertion in here: the child must not go on with the other tests */
        base_map map;
        dup2(ends[1], STDERR_FILENO);
        base_map_guard_install();
        if (base_map_open(path, &map, NULL) != DERMIS_OK || truncate(path, 0) != 0)
            _exit(1);
        _exit(*(const volatile uint8_t *)map.data & 1);
    }
    close(ends[1]);
    char text[256] = "";
    ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), base_status_exit(DERMIS_E_MODEL_CHANGED));
    assert_true(n > 0 && strstr(text, "cut short") && text[n - 1] == '\n');
}

static void test_file_read(void **state)
{
    (void)state;
    uint8_t *data = (uint8_t *)folder;
    size_t size = 99;
    dermis_error err = {0};
    write_file(in_folder("five"), "12345");
    assert_content(in_folder("five"), "12345");
    assert_int_equal(base_file_read(in_folder("five"), 4, BASE_TAG_BASE, &data, &size, &err),
                     DERMIS_E_PICTURE_LIMIT);
    assert_non_null(strstr(err.text, "limit of 4 bytes"));
    assert_int_equal(base_file_read(in_folder("none"), 4, BASE_TAG_BASE, &data, &size, &err),
                     DERMIS_E_NOT_FOUND);
    assert_int_equal(base_file_read(folder, 4, BASE_TAG_BASE, &data, &size, &err), DERMIS_E_IO);
    assert_int_equal(base_file_read("/dev/zero", 100000, BASE_TAG_BASE, &data, &size, &err),
                     DERMIS_E_PICTURE_LIMIT);
    base_memory before, after;
    base_memory_read(&before);
    base_memory_fail_at(2); /* while it grows */
    assert_int_equal(base_file_read("/dev/zero", 1 << 20, BASE_TAG_BASE, &data, &size, &err),
                     DERMIS_E_MEMORY);
    base_memory_fail_at(0);
    base_memory_read(&after);
    assert_int_equal(after.live_total, before.live_total);
    assert_true(data == (uint8_t *)folder && size == 99);
    assert_int_equal(base_file_read("/dev/null", 4, BASE_TAG_BASE, &data, &size, &err), DERMIS_OK);
    assert_int_equal(size, 0);
    base_free(data);
}

static void test_out(void **state)
{
    (void)state;
    const char *path = in_folder("out");
    base_out out;
    dermis_error err = {0};
    unsigned files = count_files();
    assert_int_equal(base_out_open(path, &out, &err), DERMIS_OK);
    fputs("first", out.file);
    assert_int_equal(access(path, F_OK), -1); /* not there before it is whole */
    assert_int_equal(base_out_commit(&out, &err), DERMIS_OK);
    assert_content(path, "first");
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask); /* as any other program's, not mkstemp's 0600 */

    assert_int_equal(base_out_open(path, &out, &err), DERMIS_OK);
    fputs("second", out.file);
    base_out_abort(&out);
    base_out_abort(&out);
    base_out_abort(NULL);
    assert_content(path, "first");

    /* a full disk, played by a limit on the size of files: the old file stays, no rest is left */
    struct rlimit was, small;
    getrlimit(RLIMIT_FSIZE, &was);
    small = (struct rlimit){10000, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    for (size_t n = 10001; n < 200000; n += 60000) { /* met by the flush, and before it */
        setrlimit(RLIMIT_FSIZE, &small);
        assert_int_equal(base_out_open(path, &out, &err), DERMIS_OK);
        for (size_t i = 0; i < n; i++)
            putc('x', out.file);
        errno = 0;
        assert_int_equal(base_out_commit(&out, &err), DERMIS_E_IO);
        setrlimit(RLIMIT_FSIZE, &was);
        assert_non_null(strstr(err.text, "cannot write: "));
        assert_null(strstr(err.text, "Success"));
        assert_content(path, "first");
    }
    signal(SIGXFSZ, SIG_DFL);

    base_memory before, after;
    base_memory_read(&before);
    for (unsigned n = 1; n <= 2; n++) {
        base_memory_fail_at(n);
        assert_int_equal(base_out_open(path, &out, &err), DERMIS_E_MEMORY);
        base_memory_fail_at(0);
    }
    base_memory_read(&after);
    assert_int_equal(after.live_total, before.live_total);

    assert_int_equal(base_out_open(in_folder("no/such/out"), &out, &err), DERMIS_E_NOT_FOUND);
    assert_int_equal(base_out_open(folder, &out, &err), DERMIS_E_IO);
    assert_int_equal(base_out_open("/dev/null", &out, &err), DERMIS_E_IO); /* never replaced */
    assert_non_null(strstr(err.text, "/dev/null: not a regular file"));
    assert_int_equal(count_files(), files + 1);

    assert_int_equal(symlink("out", in_folder("link")), 0);
    assert_int_equal(base_out_open(in_folder("link"), &out, &err), DERMIS_OK);
    fputs("third", out.file);
    assert_int_equal(base_out_commit(&out, &err), DERMIS_OK);
    assert_int_equal(lstat(in_folder("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_content(path, "third");
}

/* ---- pool ---- */

#define TASKS 1000

typedef struct job {
    base_pool *pool;
    unsigned threads;
    atomic_uint ran[TASKS];
    atomic_uint busy[16]; /* one worker index is never in two tasks at once */
    atomic_uint faults;
    uint32_t plain[TASKS]; /* written without a lock: the caller reads it after the run */
} job;

static void one_task(void *context, size_t task, unsigned worker)
{
    job *j = context;
    if (worker >= j->threads || atomic_fetch_add(&j->busy[worker], 1) != 0)
        atomic_fetch_add(&j->faults, 1);
    atomic_fetch_add(&j->ran[task], 1);
    j->plain[task] += (uint32_t)task + 1;
    atomic_fetch_sub(&j->busy[worker], 1);
}

static void test_pool(void **state)
{
    (void)state;
    static job j;
    dermis_error err = {0};
    base_pool *pool = (base_pool *)&j;
    assert_int_equal(base_pool_new(0, &pool, &err), DERMIS_E_USAGE);
    assert_int_equal(base_pool_new(1025, &pool, &err), DERMIS_E_USAGE);
    base_memory_fail_at(1);
    assert_int_equal(base_pool_new(2, &pool, &err), DERMIS_E_MEMORY);
    assert_ptr_equal(pool, &j);
    base_pool_free(NULL);
    assert_int_equal(base_pool_threads(NULL), 1);
    assert_true(base_cpu_count() >= 1);
    for (unsigned threads = 0; threads <= 8; threads++) {
        pool = NULL; /* 0: no pool at all */
        if (threads)
            assert_int_equal(base_pool_new(threads, &pool, &err), DERMIS_OK);
        assert_int_equal(base_pool_threads(pool), threads ? threads : 1);
        memset(&j, 0, sizeof j);
        j.threads = threads ? threads : 1;
        static const size_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 64, TASKS};
        uint32_t rounds[TASKS] = {0};
        base_memory before, after;
        base_memory_read(&before);
        for (unsigned round = 0; round < 400; round++) {
            size_t n = sizes[round % COUNT(sizes)];
            base_pool_run(pool, n, one_task, &j);
            for (size_t i = 0; i < n; i++)
                rounds[i]++;
        }
        base_memory_read(&after);
        assert_int_equal(after.allocations, before.allocations);
        for (size_t i = 0; i < TASKS; i++) {
            assert_int_equal(atomic_load(&j.ran[i]), rounds[i]);
            assert_int_equal(j.plain[i], rounds[i] * (i + 1));
        }
        assert_int_equal(atomic_load(&j.faults), 0);
        base_pool_free(pool);
    }
}

static void inner_task(void *context, size_t task, unsigned worker)
{
    job *j = context;
    if (atomic_load(&j->busy[worker]) != 1) /* the outer task's own worker */
        atomic_fetch_add(&j->faults, 1);
    atomic_fetch_add(&j->ran[task], 1);
}

static void outer_task(void *context, size_t task, unsigned worker)
{
    job *j = context;
    (void)task;
    atomic_fetch_add(&j->busy[worker], 1);
    base_pool_run(j->pool, 10, inner_task, j);
    base_pool_run(j->pool, 0, inner_task, j);
    atomic_fetch_sub(&j->busy[worker], 1);
}

static void test_pool_nested(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        static job j;
        memset(&j, 0, sizeof j);
        assert_int_equal(base_pool_new(threads, &j.pool, NULL), DERMIS_OK);
        j.threads = threads;
        for (int round = 0; round < 20; round++)
            base_pool_run(j.pool, 50, outer_task, &j);
        for (size_t i = 0; i < 10; i++)
            assert_int_equal(atomic_load(&j.ran[i]), 20 * 50);
        assert_int_equal(atomic_load(&j.faults), 0);
        base_pool_free(j.pool);
    }
}

static void note_task(void *context, size_t task, unsigned worker)
{
    (void)worker;
    ((uint8_t *)context)[task] = 1;
}

static void test_pool_life(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) { /* freed at once, after a run, and while the workers still spin */
        base_pool *pool;
        uint8_t seen[64] = {0};
        assert_int_equal(base_pool_new(1 + (unsigned)i % 5, &pool, NULL), DERMIS_OK);
        if (i % 3)
            base_pool_run(pool, sizeof seen, note_task, seen);
        base_pool_free(pool);
        for (size_t k = 0; k < sizeof seen; k++)
            assert_int_equal(seen[k], i % 3 != 0);
    }
}

/* ---- log ---- */

static void test_log(void **state)
{
    (void)state;
    const char *path = in_folder("log");
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600), was = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    char longer[3000];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    base_log_set_level(BASE_LOG_WARN);
    base_log(BASE_LOG_INFO, "not shown");
    base_log(BASE_LOG_WARN, "shown %d", 7);
    base_log(BASE_LOG_ERROR, "%s", longer);
    dup2(was, STDERR_FILENO);
    close(was);
    close(fd);
    uint8_t *data;
    size_t size;
    assert_int_equal(base_file_read(path, 1 << 20, BASE_TAG_BASE, &data, &size, NULL), DERMIS_OK);
    assert_memory_equal(data, "dermis: warning: shown 7\ndermis: error: yyyy", 43);
    assert_true(size < 1100 && data[size - 1] == '\n');
    base_free(data);
    double t = base_now_ms();
    assert_true(base_now_ms() >= t);
}

static int clear_away(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

/* ---- waits ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond;

static void *signal_it(void *nothing)
{
    pthread_mutex_lock(&mutex); /* free once the other waits */
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
    return nothing;
}

/* By the monotonic clock, whose times are in the distant past for the other one: a wait by that would not wait. */
static void test_wait(void **state)
{
    (void)state;
    pthread_t thread;
    base_cond_init(&cond);
    pthread_mutex_lock(&mutex);
    double began = base_now_ms();
    while (base_cond_wait_until(&cond, &mutex, began + 50))
        ;
    assert_true(base_now_ms() - began >= 49.9);
    assert_false(base_cond_wait_until(&cond, &mutex, began));
    assert_int_equal(pthread_create(&thread, NULL, signal_it, NULL), 0);
    assert_true(base_cond_wait_until(&cond, &mutex, base_now_ms() + 20000));
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    pthread_cond_destroy(&cond);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_reader),    cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_utf8),      cmocka_unit_test(test_half),
        cmocka_unit_test(test_map),       cmocka_unit_test(test_sigbus),
        cmocka_unit_test(test_file_read), cmocka_unit_test(test_out),
        cmocka_unit_test(test_pool),      cmocka_unit_test(test_pool_nested),
        cmocka_unit_test(test_pool_life), cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, set_up, clear_away);
}
