/* memory.c - what a prediction can make resident at most, added up from what is mapped and allocated:
 * what `inspect` and `check` print and what `--memory` is held against. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define STACK_BYTES   ((size_t)256 << 10) /* of each pool thread (base/pool.c); the first one's use */
#define HEAP_SLACK    ((size_t)512 << 10) /* the allocator's own, JSON, stdio, parts of pages */
#define SAMPLE_BYTES  ((size_t)4 << 20)   /* a 12-megapixel JPEG's file: most are smaller */

/* Bytes of all mappings of files, the model's among them: the most that can be resident of them. */
static size_t mapped_files(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[4352];
    size_t sum = 0;
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long long from, to;
        char path[2];
        if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %1s", &from, &to, path) == 3 && *path == '/')
            sum += (size_t)(to - from);
    }
    fclose(f);
    return sum;
}

void cli_memory_read(const dermis_model *model, unsigned threads, cli_memory *out)
{
    dermis_model_info info;
    base_memory heap;
    dermis_model_get_info(model, &info);
    base_memory_read(&heap);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), files = mapped_files();
    out->model_bytes = base_align_up(info.file_bytes, page);
    out->program_bytes = (files > out->model_bytes ? files - out->model_bytes : 0) + HEAP_SLACK +
                         threads * STACK_BYTES;
    out->session_bytes = heap.live_total;
    out->fixed_bytes = out->program_bytes + out->model_bytes + out->session_bytes;
}

size_t cli_program_bytes(void)
{
    base_memory heap;
    base_memory_read(&heap);
    return mapped_files() + heap.live_total + 4 * HEAP_SLACK + 8 * STACK_BYTES;
}

size_t cli_memory_sample_photo(const dermis_model *model)
{
    /* the header of a baseline JPEG: frame of 4000 x 3000, three components, chroma halved */
    static const uint8_t header[] = {0xff, 0xd8, 0xff, 0xc0, 0,    17,   8,    11,   184,  15,
                                     160,  3,    1,    0x22, 0,    2,    0x11, 0,    3,    0x11,
                                     0,    0xff, 0xda, 0,    12,   3,    1,    0,    2,    0,
                                     3,    0,    0,    63,   0};
    dermis_photo photo;
    if (dermis_model_probe(model, header, sizeof header, NULL, NULL, 0, &photo, NULL) != DERMIS_OK)
        return SAMPLE_BYTES;
    return SAMPLE_BYTES + photo.memory_bytes;
}

/* A number of bytes that stands alone in a file; 0 where there is none ("max", no such file). */
static size_t number_in(const char *folder, const char *path, const char *name)
{
    char file[4352];
    unsigned long long n = 0;
    snprintf(file, sizeof file, "%s%s/%s", folder, path, name);
    FILE *f = fopen(file, "r");
    if (!f)
        return 0;
    if (fscanf(f, "%llu", &n) != 1 || n > (1ull << 60)) /* version 1 writes "none" as a huge number */
        n = 0;
    fclose(f);
    return (size_t)n;
}

size_t cli_memory_limit(void)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[4096];
    size_t least = 0;
    while (f && fgets(line, sizeof line, f)) {
        /* hierarchy:controllers:path; version 2 has no controllers */
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        bool second = controllers[1] == 0;
        if (!second && strcmp(controllers + 1, "memory") != 0)
            continue;
        /* a container sees its own group at the top, so that the top counts too */
        for (;;) {
            size_t n = second ? number_in("/sys/fs/cgroup", path, "memory.max")
                              : number_in("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
            if (n && (!least || n < least))
                least = n;
            char *slash = strrchr(path, '/');
            if (!slash)
                break;
            *slash = 0;
        }
    }
    if (f)
        fclose(f);
    return least;
}

dermis_status cli_session_open(dermis_model *model, const dermis_options *given, size_t budget,
                               dermis_session **out, dermis_error *err)
{
    dermis_options options = *given;
    if (!options.threads)
        options.threads = base_cpu_count();
    cli_memory before;
    cli_memory_read(model, options.threads, &before);
    options.memory_bytes = 0;
    if (budget) {
        if (budget <= before.fixed_bytes)
            return base_fail(err, DERMIS_E_BUDGET,
                             "program and model take %.1f MB, more than the budget of %.4g MiB (%.1f MB); allow "
                             "more with --memory, or convert the model with --type f16",
                             (double)before.fixed_bytes / 1e6, (double)budget / 1048576, (double)budget / 1e6);
        options.memory_bytes = budget - before.fixed_bytes;
    }
    dermis_status status = dermis_session_open(model, &options, out, err);
    if (status == DERMIS_E_BUDGET)
        base_fail_prefix(err, "program and model take %.1f MB of the budget of %.4g MiB (%.1f MB)",
                         (double)before.fixed_bytes / 1e6, (double)budget / 1048576, (double)budget / 1e6);
    return status;
}
