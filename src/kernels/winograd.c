/* winograd.c - 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3): driver and plan. No state;
 * any thread.
 *
 * A tile of 4x4 outputs of one channel pair takes 36 multiplications instead of 144 (Lavin and Gray
 * 2015, "Fast Algorithms for Convolutional Neural Networks"; points 0, 1, -1, 2, -2, infinity).
 * With B, G and A the transforms of input, weights and output:
 *     U = G g G',  V = B' d B,  M[position] = V[position] U[position],  y = A' M A
 * where the middle product is, at each of the 36 positions, a small matrix product over input
 * channels, for which the convolution tile of the table serves.
 *
 * The weights are transformed at each run, a group of output channels at a time, so that U stays in
 * the cache and no second copy of the weights is kept. Tiles go through in chunks whose V and M
 * stay in the cache too; every group transforms the input anew.
 *
 * Scratch: [zeros][U of a group][per thread: V | M | addresses]. */
#include "kernels/conv.h"

#include <string.h>

#define POSITIONS  36
#define CHUNK      12           /* tiles that go through together */
#define GROUP_BYTES (640 * 1024) /* U of a group, unless one weight block alone is larger */
#define MAX_BYTES (1536 * 1024)
#define MIN_TILES  8            /* with fewer the transform of the weights costs what is won */

typedef struct plan {
    size_t tiles_y, tiles_x, tiles, chunk, chunks;
    size_t blocks, group_blocks, groups;
    size_t block_floats; /* U of one weight block: [36][in_c][16] */
    size_t m_width;      /* channels of a row of M */
    size_t zeros_bytes, u_bytes, v_bytes, m_bytes, thread_bytes;
} plan;

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static size_t floats(size_t n)
{
    return base_align_up(n * sizeof(float), 64);
}

static plan plan_make(const kernels_table *k, const kernels_conv *c)
{
    plan p = {0};
    p.tiles_y = divide_up(c->out_h, 4);
    p.tiles_x = divide_up(c->out_w, 4);
    p.tiles = p.tiles_y * p.tiles_x;
    p.chunks = divide_up(p.tiles, CHUNK);
    p.chunks += p.chunks > 1 && p.chunks % 2; /* even, for two threads */
    p.chunk = divide_up(p.tiles, p.chunks);
    p.chunks = divide_up(p.tiles, p.chunk);
    p.blocks = divide_up(c->out_c, KERNELS_BLOCK);
    p.block_floats = (size_t)POSITIONS * c->in_c * KERNELS_BLOCK;
    size_t unit = k->conv_blocks, fit = GROUP_BYTES / floats(p.block_floats) / unit * unit;
    fit = fit < unit ? unit : fit;
    p.groups = divide_up(p.blocks, fit);
    p.group_blocks = divide_up(divide_up(p.blocks, p.groups), unit) * unit;
    p.groups = divide_up(p.blocks, p.group_blocks);
    p.m_width = unit * KERNELS_BLOCK;
    p.zeros_bytes = floats(c->in_c);
    p.u_bytes = floats(p.group_blocks * p.block_floats);
    p.v_bytes = floats(POSITIONS * p.chunk * c->in_c);
    p.m_bytes = floats(POSITIONS * p.chunk * p.m_width);
    p.thread_bytes = p.v_bytes + p.m_bytes + base_align_up(k->conv_rows * sizeof(float *), 64);
    return p;
}

bool kernels_winograd_fits(const kernels_table *k, const kernels_conv *c)
{
    if (!k->winograd_input || c->kernel_h != 3 || c->kernel_w != 3 || c->stride_h != 1 ||
        c->stride_w != 1 || c->dilation_h != 1 || c->dilation_w != 1 || c->groups != 1 ||
        c->in_scale || c->in_c < 8 || c->out_c < 8)
        return false;
    size_t tiles = divide_up(c->out_h, 4) * divide_up(c->out_w, 4);
    size_t unit_bytes = (size_t)POSITIONS * c->in_c * KERNELS_BLOCK * k->conv_blocks * sizeof(float);
    /* 36 products a tile against 9 a pixel: narrow pictures leave most of their tiles empty. */
    return tiles >= MIN_TILES && unit_bytes <= MAX_BYTES &&
           tiles * POSITIONS * 2 <= (size_t)c->out_h * c->out_w * 9;
}

size_t kernels_winograd_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads)
{
    if (!kernels_winograd_fits(k, c))
        return 0;
    plan p = plan_make(k, c);
    return p.zeros_bytes + p.u_bytes + p.thread_bytes * threads;
}

typedef struct job {
    const kernels_table *k;
    const kernels_conv *c;
    plan p;
    const float *zeros;
    float *u;
    char *threads;
    float lo, hi;
    bool residual_in_tile, tail;
    size_t b0, b1; /* blocks of the group at work */
} job;

static void weights_task(void *context, size_t i, unsigned worker)
{
    const job *j = context;
    const kernels_conv *c = j->c;
    size_t size = c->weight_type == KERNELS_F16 ? 2 : 4;
    (void)worker;
    j->k->winograd_weights[c->weight_type](
        (const char *)c->weight + (j->b0 + i) * 9 * c->in_c * KERNELS_BLOCK * size, c->in_c,
        j->u + i * j->p.block_floats);
}

/* Addresses of the 36 input pixels of a tile, `zeros` for those outside the picture. */
static void tile_pixels(const job *j, size_t ty, size_t tx, const float *pixel[POSITIONS])
{
    const kernels_conv *c = j->c;
    for (int64_t a = 0; a < 6; a++) {
        int64_t y = (int64_t)ty * 4 - c->pad_top + a;
        for (int64_t b = 0; b < 6; b++) {
            int64_t x = (int64_t)tx * 4 - c->pad_left + b;
            bool inside = y >= 0 && y < c->in_h && x >= 0 && x < c->in_w;
            pixel[a * 6 + b] = inside ? c->in + (y * c->in_w + x) * c->in_c : j->zeros;
        }
    }
}

/* Where the outputs of tile `index` begin, and how many of its 4x4 exist. */
static size_t tile_place(const job *j, size_t index, unsigned *rows, unsigned *columns)
{
    const kernels_conv *c = j->c;
    size_t y = index / j->p.tiles_x * 4, x = index % j->p.tiles_x * 4;
    *rows = (unsigned)(c->out_h - y < 4 ? c->out_h - y : 4);
    *columns = (unsigned)(c->out_w - x < 4 ? c->out_w - x : 4);
    return (y * c->out_w + x) * c->out_c;
}

/* M of all positions for `blocks` blocks from `b` of the group. */
static void multiply(const job *j, size_t tiles, size_t b, unsigned blocks, const float *v,
                     float *m, const float **ptr)
{
    const kernels_conv *c = j->c;
    kernels_tile t = {.blocks = blocks, .channels = blocks * KERNELS_BLOCK, .runs = 1,
                      .run_len = c->in_c, .ptr = (const float *const *)ptr,
                      .block_bytes = j->p.block_floats * sizeof(float),
                      .out_stride = j->p.m_width};
    kernels_act_clamp((kernels_act){.kind = KERNELS_ACT_LINEAR}, &t.lo, &t.hi);
    for (size_t position = 0; position < POSITIONS; position++) {
        t.weight = j->u + b * j->p.block_floats + position * c->in_c * KERNELS_BLOCK;
        for (size_t r = 0; r < tiles; r += t.rows) {
            size_t at = position * j->p.chunk + r;
            t.rows = (unsigned)(tiles - r < j->k->conv_rows ? tiles - r : j->k->conv_rows);
            for (unsigned i = 0; i < t.rows; i++)
                ptr[i] = v + (at + i) * c->in_c;
            t.out = m + at * j->p.m_width;
            j->k->conv_tile[KERNELS_F32](&t);
        }
    }
}

static void chunk_task(void *context, size_t chunk, unsigned worker)
{
    const job *j = context;
    const kernels_conv *c = j->c;
    const plan *p = &j->p;
    float *v = (float *)(j->threads + worker * p->thread_bytes);
    float *m = (float *)((char *)v + p->v_bytes);
    const float **ptr = (const float **)((char *)m + p->m_bytes);
    const float *pixel[POSITIONS];
    size_t first = chunk * p->chunk;
    size_t tiles = p->tiles - first < p->chunk ? p->tiles - first : p->chunk;
    for (size_t i = 0; i < tiles; i++) {
        tile_pixels(j, (first + i) / p->tiles_x, (first + i) % p->tiles_x, pixel);
        j->k->winograd_input(pixel, c->in_c, v + i * c->in_c, p->chunk * c->in_c);
    }
    kernels_winograd_tile out = {.m_stride = p->chunk * p->m_width, .pixel_stride = c->out_c,
                                 .row_stride = (size_t)c->out_w * c->out_c, .lo = j->lo,
                                 .hi = j->hi};
    for (size_t b = j->b0; b < j->b1;) {
        unsigned blocks = (unsigned)(j->b1 - b < j->k->conv_blocks ? j->b1 - b : j->k->conv_blocks);
        size_t channel = b * KERNELS_BLOCK, left = c->out_c - channel;
        multiply(j, tiles, b - j->b0, blocks, v, m, ptr);
        out.channels = left < blocks * KERNELS_BLOCK ? left : blocks * KERNELS_BLOCK;
        out.bias = c->bias ? c->bias + channel : NULL;
        for (size_t i = 0; i < tiles; i++) {
            size_t at = tile_place(j, first + i, &out.rows, &out.columns) + channel;
            out.m = m + i * p->m_width;
            out.residual = j->residual_in_tile ? c->residual + at : NULL;
            out.out = c->out + at;
            j->k->winograd_output(&out);
        }
        b += blocks;
    }
    if (!j->tail)
        return;
    size_t c0 = j->b0 * KERNELS_BLOCK;
    size_t n = (j->b1 * KERNELS_BLOCK < c->out_c ? j->b1 * KERNELS_BLOCK : c->out_c) - c0;
    for (size_t i = 0; i < tiles; i++) {
        size_t at = tile_place(j, first + i, &out.rows, &out.columns) + c0;
        for (unsigned y = 0; y < out.rows; y++, at += out.row_stride) {
            if (n == c->out_c)
                kernels_tail(j->k, c, at, n * out.columns);
            else
                for (unsigned x = 0; x < out.columns; x++)
                    kernels_tail(j->k, c, at + x * (size_t)c->out_c, n);
        }
    }
}

void kernels_winograd_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                          base_pool *pool)
{
    job j = {.k = k, .c = c, .p = plan_make(k, c), .zeros = scratch};
    j.u = (float *)((char *)scratch + j.p.zeros_bytes);
    j.threads = (char *)j.u + j.p.u_bytes;
    kernels_act_clamp(c->act, &j.lo, &j.hi);
    j.residual_in_tile = kernels_residual_in_tile(c);
    j.tail = kernels_tail_needed(c);
    memset(scratch, 0, j.p.zeros_bytes);
    for (j.b0 = 0; j.b0 < j.p.blocks; j.b0 = j.b1) {
        size_t end = j.b0 + j.p.group_blocks;
        j.b1 = end < j.p.blocks ? end : j.p.blocks;
        base_pool_run(pool, j.b1 - j.b0, weights_task, &j);
        base_pool_run(pool, j.p.chunks, chunk_task, &j);
    }
}
