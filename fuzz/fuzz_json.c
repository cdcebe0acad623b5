/* fuzz_json.c - any bytes as the JSON of an inference request: what is read takes no more of jansson's
 * memory than was reserved for it, and what nests too deeply is not read. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t now, most;

static void *count_alloc(size_t size)
{
    void *p = malloc(size);
    now += p ? malloc_usable_size(p) + 16 : 0; /* and the heap's own */
    most = now > most ? now : most;
    return p;
}

static void count_free(void *p)
{
    now -= p ? malloc_usable_size(p) + 16 : 0;
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* of its own, so that a read past its end is seen */
    if (!text)
        return 0;
    memcpy(text, data, size);
    size_t bound = v2_json_bytes(text, size);
    if (bound != SIZE_MAX) {
        now = most = 0;
        json_set_alloc_funcs(count_alloc, count_free);
        json_decref(json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL));
        if (now != 0 || most > bound + 4096)
            abort();
    }
    free(text);
    return 0;
}

#ifdef JSON_REPLAY
#include "replay.h"
#endif
