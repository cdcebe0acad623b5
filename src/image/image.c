/* image.c - probe and the way from bytes to a tensor: source rows, planes, two passes, floats.
 * Holds only rows; whole frames, where a format needs them, stand in its decoder. Any thread;
 * nothing is kept between calls. */
#include "image/image_private.h"

#include <string.h>

typedef dermis_status open_function(const uint8_t *, size_t, const image_limits *, bool,
                                    image_info *, image_source **, dermis_error *);
static open_function *const openers[] = {image_jpeg_open, image_png_open, image_webp_open};

void image_limits_default(image_limits *limits)
{
    *limits = (image_limits){.max_pixels = IMAGE_MAX_PIXELS_DEFAULT,
                             .max_side = IMAGE_MAX_SIDE_DEFAULT,
                             .max_bytes = IMAGE_MAX_BYTES_DEFAULT,
                             .max_scans = IMAGE_MAX_SCANS_DEFAULT,
                             .max_memory = IMAGE_MAX_MEMORY_DEFAULT};
}

const char *image_format_name(image_format format)
{
    return format == IMAGE_JPEG ? "JPEG" : format == IMAGE_PNG ? "PNG" : "WebP";
}

static dermis_status open_picture(const uint8_t *data, size_t size, const image_limits *limits,
                                  bool header_only, image_info *info, image_source **out,
                                  dermis_error *err)
{
    image_limits defaults;
    if (!limits) {
        image_limits_default(&defaults);
        limits = &defaults;
    }
    image_format format;
    if (size > limits->max_bytes)
        return base_fail(err, DERMIS_E_PICTURE_LIMIT,
                         "the file has %.1f MB; %.1f are allowed: make the picture smaller",
                         (double)size / 1e6, (double)limits->max_bytes / 1e6);
    dermis_status status = image_sniff(data, size, &format, err);
    if (status != DERMIS_OK)
        return status;
    memset(info, 0, sizeof *info);
    info->format = format;
    info->orientation = 1;
    return openers[format](data, size, limits, header_only, info, out, err);
}

dermis_status image_probe(const uint8_t *data, size_t size, const image_limits *limits,
                          image_info *out, dermis_error *err)
{
    image_info info;
    dermis_status status = open_picture(data, size, limits, true, &info, NULL, err);
    if (status == DERMIS_OK)
        *out = info;
    return status;
}

dermis_status image_source_open(const uint8_t *data, size_t size, const image_limits *limits,
                                image_source **out, dermis_error *err)
{
    image_info info;
    return open_picture(data, size, limits, false, &info, out, err);
}

/* ---- the resize: one planar row in, what has become complete goes out ---- */

/* Where axes keep their places, stored rows are resized along x, and y runs across them. Where they
 * swap, the picture's x is the stored y: the first pass runs across stored rows, and each result is
 * one column of the picture, resized along its y. */
typedef struct resize {
    const image_resampler *kernels;
    uint32_t channels, width, height; /* of the output */
    bool swap, flip_x, flip_y;
    image_axis along, across;
    size_t plane; /* bytes of one plane of the decoded row, padding included */
    size_t slot;  /* bytes of one row in the ring: all planes */
    size_t slot_plane;
    uint8_t *rgb;    /* a decoded row */
    uint8_t *planes; /* the same, planar */
    uint8_t *ring;   /* across.longest rows */
    uint8_t *done;   /* a result of the across pass */
    uint8_t *line;   /* a result of the along pass after it (swap only) */
    const uint8_t **rows;
    uint32_t taken, given; /* rows pushed, outputs of the across axis complete */
    const image_sink *sink;
} resize;

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

/* The part as a picture of its own: `info` with its sizes, and where it begins in stored pixels. */
static image_info part_of(const image_info *info, const image_crop *crop, uint32_t *left, uint32_t *top)
{
    image_info part = *info;
    *left = *top = 0;
    if (!crop || crop->width == 0 || crop->height == 0)
        return part;
    uint32_t x = image_flips_x(info->orientation) ? info->width - crop->x - crop->width : crop->x;
    uint32_t y = image_flips_y(info->orientation) ? info->height - crop->y - crop->height : crop->y;
    bool swap = image_swaps_axes(info->orientation);
    part.width = crop->width;
    part.height = crop->height;
    part.stored_width = swap ? crop->height : crop->width;
    part.stored_height = swap ? crop->width : crop->height;
    *left = swap ? y : x;
    *top = swap ? x : y;
    return part;
}

dermis_status image_check_crop(const image_info *info, const image_crop *crop, dermis_error *err)
{
    if (!crop || crop->width == 0 || crop->height == 0)
        return DERMIS_OK;
    if (crop->width > info->width || crop->x > info->width - crop->width || crop->height > info->height ||
        crop->y > info->height - crop->height)
        return base_fail(err, DERMIS_E_USAGE,
                         "the part of %ux%u pixels at %u,%u does not lie within the picture of %ux%u",
                         crop->width, crop->height, crop->x, crop->y, info->width, info->height);
    return DERMIS_OK;
}

size_t image_tensor_memory(const image_info *whole, const image_crop *crop, uint32_t width,
                           uint32_t height, uint32_t channels)
{
    uint32_t left, top;
    image_info part = part_of(whole, crop, &left, &top);
    const image_info *info = &part;
    bool swap = image_swaps_axes(info->orientation);
    uint32_t across_in = info->stored_height, across_out = swap ? width : height;
    uint32_t along_in = info->stored_width, along_out = swap ? height : width;
    size_t slot = image_product(padded(swap ? along_in : along_out), channels, 1);
    size_t total = info->memory_bytes;
    total = image_sum(total, image_product(whole->stored_width, 3, 1));
    total = image_sum(total, image_product(padded(info->stored_width), 4, 1));
    total = image_sum(total, image_product(slot, across_longest(across_in, across_out) + 2, 1));
    total = image_sum(total, image_axis_memory(along_in, along_out));
    return image_sum(total, image_axis_memory(across_in, across_out));
}

static void resize_release(resize *r)
{
    image_axis_release(&r->along);
    image_axis_release(&r->across);
    base_free(r->rgb);
    base_free(r->planes);
    base_free(r->ring);
    base_free(r->done);
    base_free(r->line);
    base_free(r->rows);
}

/* `row_pixels`: of a decoded row, of which the part is a piece. */
static dermis_status resize_init(resize *r, const image_info *info, uint32_t row_pixels, uint32_t width,
                                 uint32_t height, uint32_t channels, const image_sink *sink,
                                 dermis_error *err)
{
    *r = (resize){.kernels = image_resampler_best(),
                  .channels = channels,
                  .width = width,
                  .height = height,
                  .swap = image_swaps_axes(info->orientation),
                  .flip_x = image_flips_x(info->orientation),
                  .flip_y = image_flips_y(info->orientation),
                  .sink = sink};
    dermis_status status = image_axis_init(&r->along, info->stored_width, r->swap ? height : width,
                                           r->swap ? r->flip_y : r->flip_x, err);
    if (status == DERMIS_OK)
        status = image_axis_init(&r->across, info->stored_height, r->swap ? width : height,
                                 r->swap ? r->flip_x : r->flip_y, err);
    if (status != DERMIS_OK)
        return status;
    r->plane = padded(info->stored_width);
    r->slot_plane = r->swap ? r->plane : padded(r->along.out);
    r->slot = r->slot_plane * channels;
    r->rgb = base_calloc(BASE_TAG_IMAGE, row_pixels, 3);
    r->planes = base_calloc(BASE_TAG_IMAGE, r->plane, 3);
    r->ring = base_calloc(BASE_TAG_IMAGE, r->across.longest, r->slot);
    r->done = base_calloc(BASE_TAG_IMAGE, r->slot, 1);
    r->line = base_calloc(BASE_TAG_IMAGE, padded(r->along.out), 1);
    r->rows = base_calloc(BASE_TAG_IMAGE, r->across.longest, sizeof *r->rows);
    if (!r->rgb || !r->planes || !r->ring || !r->done || !r->line || !r->rows)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to resize the picture");
    return DERMIS_OK;
}

static void along(const resize *r, const uint8_t *in, uint8_t *out)
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
static dermis_status give(resize *r, const uint8_t *line, dermis_error *err)
{
    const uint32_t n = r->channels, i = r->given++;
    const image_sink *sink = r->sink;
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

/* Takes one row of the part; gives what has become complete. */
static dermis_status push(resize *r, const uint8_t *rgb, dermis_error *err)
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

dermis_status image_resize(const uint8_t *data, size_t size, const image_limits *limits,
                           const image_info *head, const image_crop *crop, uint32_t width,
                           uint32_t height, uint32_t channels, const image_sink *sink,
                           dermis_error *err)
{
    uint32_t left, top;
    image_info part = part_of(head, crop, &left, &top);
    image_source *source = NULL;
    resize r = {0};
    dermis_status status = resize_init(&r, &part, head->stored_width, width, height, channels, sink, err);
    if (status == DERMIS_OK)
        status = image_source_open(data, size, limits, &source, err);
    for (uint32_t y = 0; status == DERMIS_OK && y < top + part.stored_height; y++) {
        status = source->row(source, r.rgb, err);
        if (status == DERMIS_OK && y >= top)
            status = push(&r, r.rgb + 3 * (size_t)left, err);
    }
    if (source)
        source->close(source);
    resize_release(&r);
    return status;
}

dermis_status image_to_tensor(const uint8_t *data, size_t size, const image_limits *limits,
                              const image_crop *crop, uint32_t width, uint32_t height,
                              uint32_t channels, float *out, image_info *info, dermis_error *err)
{
    image_limits defaults;
    if (!limits) {
        image_limits_default(&defaults);
        limits = &defaults;
    }
    if (width == 0 || height == 0 || (channels != 1 && channels != 3))
        return base_fail(err, DERMIS_E_USAGE, "a tensor of %ux%ux%u cannot be made from a picture",
                         height, width, channels);
    /* the header first, so that the whole cost is known before any of it is taken */
    image_info head;
    image_sink sink = {.tensor = out};
    dermis_status status = image_probe(data, size, limits, &head, err);
    if (status == DERMIS_OK)
        status = image_check_crop(&head, crop, err);
    if (status == DERMIS_OK)
        status = image_check_memory("decoding and resizing the picture",
                                    image_tensor_memory(&head, crop, width, height, channels), limits,
                                    err);
    if (status == DERMIS_OK)
        status = image_resize(data, size, limits, &head, crop, width, height, channels, &sink, err);
    if (status == DERMIS_OK && info)
        *info = head;
    return status;
}
