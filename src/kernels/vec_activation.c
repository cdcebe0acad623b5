/* vec_activation.c - activations in vectors; compiled once for each instruction set. No state; any
 * thread. */
#include "kernels/vec.h"

void VEC_GLOBAL(init_activation)(kernels_table *k)
{
    (void)k;
}
