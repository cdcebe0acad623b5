/* winograd.c - fast 3x3 convolutions by Winograd's transform. */
#include "kernels/conv.h"

bool kernels_winograd_fits(const kernels_table *k, const kernels_conv *c)
{
    (void)k;
    (void)c;
    return false;
}

size_t kernels_winograd_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads)
{
    (void)k;
    (void)c;
    (void)threads;
    return 0;
}

void kernels_winograd_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                          base_pool *pool)
{
    (void)k;
    (void)c;
    (void)scratch;
    (void)pool;
}
