/* image.c - probe, and one decoding for all that is made of a picture: rows of the source go to a tensor's
 * resize and to the copies. Holds only rows; whole frames, where a format needs them, stand in its
 * decoder. Any thread; nothing is kept between calls. */
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

/* ---- one decoding ---- */

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

/* Everything but the outputs. */
static size_t source_memory(const image_info *info)
{
    return image_sum(info->memory_bytes, image_product(info->stored_width, 3, 1));
}

size_t image_decode_memory(const image_info *info, const image_crop *crop, const image_tensor *tensor,
                           const image_copy *copies, unsigned count)
{
    uint32_t left, top;
    image_info part = part_of(info, crop, &left, &top);
    size_t total = image_sum(source_memory(info), image_copies_memory(&part, copies, count));
    return tensor ? image_sum(total, image_resize_memory(&part, tensor->width, tensor->height, tensor->channels)) : total;
}

/* Decodes the part and pushes its rows into what wants them (NULL: nothing). */
static dermis_status pump(const uint8_t *data, size_t size, const image_limits *limits, const image_info *head,
                          const image_crop *crop, image_resize *tensor, image_copies *copies, dermis_error *err)
{
    uint32_t left, top;
    image_info part = part_of(head, crop, &left, &top);
    image_source *source = NULL;
    uint8_t *rgb = base_calloc(BASE_TAG_IMAGE, head->stored_width, 3);
    dermis_status status = rgb ? image_source_open(data, size, limits, &source, err)
                               : base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the picture");
    for (uint32_t y = 0; status == DERMIS_OK && y < top + part.stored_height; y++) {
        const uint8_t *row = rgb + 3 * (size_t)left;
        status = source->row(source, rgb, err);
        if (status == DERMIS_OK && y >= top && tensor)
            status = image_resize_push(tensor, row, err);
        if (status == DERMIS_OK && y >= top && copies)
            status = image_copies_push(copies, row, err);
    }
    if (source)
        source->close(source);
    base_free(rgb);
    return status;
}

dermis_status image_decode(const uint8_t *data, size_t size, const image_limits *limits, const image_crop *crop,
                           const image_tensor *tensor, image_copy *copies, unsigned count, image_info *info,
                           dermis_error *err)
{
    image_limits defaults;
    if (!limits) {
        image_limits_default(&defaults);
        limits = &defaults;
    }
    if (tensor && (tensor->width == 0 || tensor->height == 0 || (tensor->channels != 1 && tensor->channels != 3)))
        return base_fail(err, DERMIS_E_USAGE, "a tensor of %ux%ux%u cannot be made from a picture",
                         tensor->height, tensor->width, tensor->channels);
    /* the header first, so that the whole cost is known before any of it is taken */
    image_info head;
    uint32_t left, top;
    dermis_status status = image_probe(data, size, limits, &head, err);
    if (status == DERMIS_OK)
        status = image_check_crop(&head, crop, err);
    if (status == DERMIS_OK)
        status = image_check_memory(count ? "decoding and storing the picture" : "decoding and resizing the picture",
                                    image_decode_memory(&head, crop, tensor, copies, count), limits, err);
    if (status != DERMIS_OK)
        return status;
    image_info part = part_of(&head, crop, &left, &top);
    image_resize *resize = NULL;
    image_copies *made = NULL;
    if (tensor)
        status = image_resize_new(&part, tensor->width, tensor->height, tensor->channels,
                                  &(image_sink){.tensor = tensor->out}, &resize, err);
    if (status == DERMIS_OK && count)
        status = image_copies_new(&part, copies, count, &made, err);
    if (status == DERMIS_OK)
        status = pump(data, size, limits, &head, crop, resize, made, err);
    if (status == DERMIS_OK && made)
        status = image_copies_end(made, copies, err);
    image_resize_free(resize);
    image_copies_free(made);
    if (status == DERMIS_OK && info)
        *info = head;
    return status;
}
