/* resize.c - one resize, fed row by row: planes, two passes, and what has become complete goes into its
 * sink. Holds only rows. One thread at a time. */
#include "image/image_private.h"

#include <string.h>

/* Where axes keep their places, stored rows are resized along x, and y runs across them. Where they
 * swap, the picture's x is the stored y: the first pass runs across stored rows, and each result is
 * one column of the picture, resized along its y. */
struct image_resize {
    const image_resampler *kernels;
    uint32_t channels, width, height; /* of the output */
    bool swap, flip_x, flip_y;
    image_axis along, across;
    size_t plane; /* bytes of one plane of the decoded row, padding included */
    size_t slot;  /* bytes of one row in the ring: all planes */
    size_t slot_plane;
    uint8_t *planes; /* a row that was pushed, planar */
    uint8_t *ring;   /* across.longest rows */
    uint8_t *done;   /* a result of the across pass */
    uint8_t *line;   /* a result of the along pass after it (swap only) */
    const uint8_t **rows;
    uint32_t taken, given; /* rows pushed, outputs of the across axis complete */
    image_sink sink;
};

static size_t padded(uint32_t n)
{
    return base_align_up((size_t)n, 32) + IMAGE_PAD;
}

static size_t across_longest(uint32_t in, uint32_t out)
{
    if (in == out || out == 0)
        return 1;
    double scale = (double)in / out;
    double longest = 2 * (3 * (scale < 1 ? 1 : scale) + 1) + 1;
    return longest < in ? (size_t)longest : in;
}

size_t image_resize_memory(const image_info *part, uint32_t width, uint32_t height, uint32_t channels)
{
    bool swap = image_swaps_axes(part->orientation);
    uint32_t across_in = part->stored_height, across_out = swap ? width : height;
    uint32_t along_in = part->stored_width, along_out = swap ? height : width;
    size_t slot = image_product(padded(swap ? along_in : along_out), channels, 1);
    size_t total = sizeof(image_resize);
    total = image_sum(total, image_product(padded(part->stored_width), 4, 1));
    total = image_sum(total, image_product(slot, across_longest(across_in, across_out) + 2, 1));
    total = image_sum(total, image_axis_memory(along_in, along_out));
    return image_sum(total, image_axis_memory(across_in, across_out));
}

void image_resize_free(image_resize *r)
{
    if (!r)
        return;
    image_axis_release(&r->along);
    image_axis_release(&r->across);
    base_free(r->planes);
    base_free(r->ring);
    base_free(r->done);
    base_free(r->line);
    base_free(r->rows);
    base_free(r);
}

dermis_status image_resize_new(const image_info *part, uint32_t width, uint32_t height, uint32_t channels,
                               const image_sink *sink, image_resize **out, dermis_error *err)
{
    image_resize *r = base_calloc(BASE_TAG_IMAGE, 1, sizeof *r);
    dermis_status status = r ? DERMIS_OK : base_fail(err, DERMIS_E_MEMORY, "not enough memory to resize the picture");
    if (!r)
        return status;
    *r = (image_resize){.kernels = image_resampler_best(),
                        .channels = channels,
                        .width = width,
                        .height = height,
                        .swap = image_swaps_axes(part->orientation),
                        .flip_x = image_flips_x(part->orientation),
                        .flip_y = image_flips_y(part->orientation),
                        .sink = *sink};
    status = image_axis_init(&r->along, part->stored_width, r->swap ? height : width,
                             r->swap ? r->flip_y : r->flip_x, err);
    if (status == DERMIS_OK)
        status = image_axis_init(&r->across, part->stored_height, r->swap ? width : height,
                                 r->swap ? r->flip_x : r->flip_y, err);
    if (status == DERMIS_OK) {
        r->plane = padded(part->stored_width);
        r->slot_plane = r->swap ? r->plane : padded(r->along.out);
        r->slot = r->slot_plane * channels;
        r->planes = base_calloc(BASE_TAG_IMAGE, r->plane, 3);
        r->ring = base_calloc(BASE_TAG_IMAGE, r->across.longest, r->slot);
        r->done = base_calloc(BASE_TAG_IMAGE, r->slot, 1);
        r->line = base_calloc(BASE_TAG_IMAGE, padded(r->along.out), 1);
        r->rows = base_calloc(BASE_TAG_IMAGE, r->across.longest, sizeof *r->rows);
        if (!r->planes || !r->ring || !r->done || !r->line || !r->rows)
            status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to resize the picture");
    }
    if (status != DERMIS_OK) {
        image_resize_free(r);
        return status;
    }
    *out = r;
    return DERMIS_OK;
}

static void along(const image_resize *r, const uint8_t *in, uint8_t *out)
{
    if (r->along.copy)
        memcpy(out, in, r->along.out);
    else
        r->kernels->along(&r->along, in, out);
}

/* n values to every stride-th place of the sink from `at`. */
static void put(const image_sink *sink, const uint8_t *v, size_t at, ptrdiff_t stride, uint32_t n)
{
    if (sink->tensor)
        for (float *to = sink->tensor + at; n; n--, to += stride)
            *to = *v++;
    else
        for (uint8_t *to = sink->frame + at; n; n--, to += stride)
            *to = *v++;
}

/* One line of results (a row of the picture, or a column where axes swap) into the sink. */
static dermis_status give(image_resize *r, const uint8_t *line, dermis_error *err)
{
    const uint32_t n = r->channels, i = r->given++;
    const image_sink *sink = &r->sink;
    for (uint32_t c = 0; c < n; c++) {
        const uint8_t *v = line + c * r->slot_plane;
        ptrdiff_t step = r->swap ? (ptrdiff_t)r->width * n : (ptrdiff_t)n;
        uint32_t count = r->swap ? r->height : r->width, x = 0, y = 0;
        bool backwards = r->swap ? r->flip_y : r->flip_x;
        if (r->swap) {
            along(r, v, r->line);
            v = r->line;
            x = r->flip_x ? r->width - 1 - i : i;
            y = backwards ? r->height - 1 : 0;
        } else {
            y = sink->row ? 0 : r->flip_y ? r->height - 1 - i : i;
            x = backwards ? r->width - 1 : 0;
        }
        put(sink, v, ((size_t)y * r->width + x) * n + c, backwards ? -step : step, count);
    }
    return sink->row ? sink->row(sink->context, sink->frame, err) : DERMIS_OK;
}

/* ITU-R 601-2 luma as Pillow's convert('L') rounds it; grey pixels keep their value. */
static void luma(const uint8_t *rgb, size_t pixels, uint8_t *out)
{
    for (size_t i = 0; i < pixels; i++, rgb += 3)
        out[i] = (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

dermis_status image_resize_push(image_resize *r, const uint8_t *rgb, dermis_error *err)
{
    uint8_t *slot = r->ring + (r->taken % r->across.longest) * r->slot;
    uint8_t *planes = r->swap ? slot : r->planes;
    dermis_status status = DERMIS_OK;
    if (r->channels == 1)
        luma(rgb, r->along.in, planes);
    else
        r->kernels->split(rgb, r->along.in, planes, r->plane);
    if (!r->swap)
        for (uint32_t c = 0; c < r->channels; c++)
            along(r, planes + c * r->plane, slot + c * r->slot_plane);
    r->taken++;
    if (r->across.copy)
        return give(r, slot, err);
    const image_axis *a = &r->across;
    while (!status && r->given < a->out && a->first[r->given] + a->count[r->given] <= r->taken) {
        for (uint32_t j = 0; j < a->count[r->given]; j++)
            r->rows[j] = r->ring + ((a->first[r->given] + j) % a->longest) * r->slot;
        r->kernels->across(a, r->given, r->rows, r->slot, r->done);
        status = give(r, r->done, err);
    }
    return status;
}
