/* table.c - builds the tables once and picks one. Any thread. */
#include "kernels/table.h"

#include <pthread.h>

static kernels_table tables[KERNELS_LEVEL_COUNT];
static kernels_level best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
#define INIT_SET(set) \
    static void init_##set(kernels_table *k) \
    { \
        kernels_init_activation_##set(k); \
        kernels_init_conv_##set(k); \
        kernels_init_depthwise_##set(k); \
        kernels_init_elementwise_##set(k); \
        kernels_init_pool_##set(k); \
        kernels_init_winograd_##set(k); \
    }
INIT_SET(avx2)
INIT_SET(avx512)
static void (*const init_set[KERNELS_LEVEL_COUNT])(kernels_table *k) = {
    [KERNELS_AVX2] = init_avx2,
    [KERNELS_AVX512] = init_avx512,
};
#endif

static void build(void)
{
    best = kernels_level_best();
    kernels_init_scalar_conv(&tables[0]);
    kernels_init_scalar_depthwise(&tables[0]);
    kernels_init_scalar_activation(&tables[0]);
    kernels_init_scalar_elementwise(&tables[0]);
    kernels_init_scalar_pool(&tables[0]);
    kernels_init_scalar_layernorm(&tables[0]);
    for (int i = 1; i < KERNELS_LEVEL_COUNT; i++) {
        tables[i] = tables[i - 1];
        tables[i].level = (kernels_level)i;
#if defined(__x86_64__)
        init_set[i](&tables[i]);
#endif
    }
}

const kernels_table *kernels_get(kernels_level cap)
{
    pthread_once(&once, build);
    return &tables[cap < best ? cap : best];
}

kernels_level kernels_table_level(const kernels_table *k)
{
    return k->level;
}
