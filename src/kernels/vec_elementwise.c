/* vec_elementwise.c - element-wise operators and layer normalisation in vectors; compiled once for each instruction set. No state; any
 * thread. */
#include "kernels/vec.h"

void VEC_GLOBAL(init_elementwise)(kernels_table *k)
{
    (void)k;
}
