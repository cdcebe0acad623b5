/* conv.h - what conv.c, depthwise.c and winograd.c share; private to this folder. */
#ifndef KERNELS_CONV_H
#define KERNELS_CONV_H

#include "kernels/table.h"

/* The tile can add the residual itself (before the activation, or no activation stands between). */
bool kernels_residual_in_tile(const kernels_conv *c);
/* Output index whose window holds input i at kernel place k; false: none. */
bool kernels_grad_source(uint32_t i, uint32_t k, uint32_t pad, uint32_t dilation, uint32_t stride,
                         uint32_t out, size_t *o);

bool kernels_winograd_fits(const kernels_table *k, const kernels_conv *c);
size_t kernels_winograd_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads);
void kernels_winograd_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                          base_pool *pool);

#endif
