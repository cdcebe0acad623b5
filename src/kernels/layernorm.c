/* layernorm.c - layer normalisation over the last axis and its gradient. No state; any thread. */
#include "kernels/table.h"

#include <math.h>

static void moments(const float *x, size_t c, double *mean, double *variance)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < c; i++)
        sum += x[i];
    *mean = sum / (double)c;
    for (size_t i = 0; i < c; i++)
        square += (x[i] - *mean) * (x[i] - *mean);
    *variance = square / (double)c;
}

static void layernorm_row_scalar(const float *in, float *out, size_t c, float epsilon,
                                 const float *gamma, const float *beta)
{
    double mean, variance;
    moments(in, c, &mean, &variance);
    double inv = 1.0 / sqrt(variance + epsilon);
    for (size_t i = 0; i < c; i++) {
        float v = (float)((in[i] - mean) * inv);
        out[i] = v * (gamma ? gamma[i] : 1.0f) + (beta ? beta[i] : 0.0f);
    }
}

typedef struct layernorm_job {
    const kernels_table *k;
    const float *in, *gamma, *beta;
    float *out, epsilon;
    size_t rows, c, pieces;
} layernorm_job;

static void layernorm_task(void *context, size_t task, unsigned worker)
{
    const layernorm_job *j = context;
    size_t begin, end;
    (void)worker;
    kernels_piece(j->rows, j->pieces, task, &begin, &end);
    for (size_t r = begin; r < end; r++)
        j->k->layernorm_row(j->in + r * j->c, j->out + r * j->c, j->c, j->epsilon, j->gamma,
                            j->beta);
}

void kernels_layernorm_run(const kernels_table *k, const float *in, float *out, size_t rows,
                           size_t c, float epsilon, const float *gamma, const float *beta,
                           base_pool *pool)
{
    layernorm_job j = {.k = k, .in = in, .gamma = gamma, .beta = beta, .out = out,
                       .epsilon = epsilon, .rows = rows, .c = c};
    if (rows == 0 || c == 0)
        return;
    j.pieces = rows * c < KERNELS_PARALLEL_MIN ? 1 : (size_t)base_pool_threads(pool) * 2;
    base_pool_run(j.pieces > 1 ? pool : NULL, j.pieces, layernorm_task, &j);
}

void kernels_layernorm_grad(const float *in, const float *grad_out, float *grad_in, size_t rows,
                            size_t c, float epsilon, const float *gamma)
{
    for (size_t r = 0; r < rows; r++) {
        const float *x = in + r * c, *go = grad_out + r * c;
        double mean, variance, sum = 0, dot = 0;
        moments(x, c, &mean, &variance);
        double inv = 1.0 / sqrt(variance + epsilon);
        for (size_t i = 0; i < c; i++) {
            double g = (double)go[i] * (gamma ? gamma[i] : 1.0f);
            sum += g;
            dot += g * (x[i] - mean) * inv;
        }
        for (size_t i = 0; i < c; i++) {
            double g = (double)go[i] * (gamma ? gamma[i] : 1.0f);
            double hat = (x[i] - mean) * inv;
            grad_in[r * c + i] = (float)((g - sum / (double)c - hat * dot / (double)c) * inv);
        }
    }
}

void kernels_init_scalar_layernorm(kernels_table *k)
{
    k->layernorm_row = layernorm_row_scalar;
}
