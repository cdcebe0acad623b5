/* vec_pool.c - pooling in vectors; compiled once for each instruction set. No state; any
 * thread. */
#include "kernels/vec.h"

void VEC_GLOBAL(init_pool)(kernels_table *k)
{
    (void)k;
}
