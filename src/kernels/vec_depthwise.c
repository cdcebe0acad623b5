/* vec_depthwise.c - depthwise convolutions in vectors; compiled once for each instruction set. No state; any
 * thread. */
#include "kernels/vec.h"

void VEC_GLOBAL(init_depthwise)(kernels_table *k)
{
    (void)k;
}
