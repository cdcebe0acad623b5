/* bounds.c - what a picture may be and take: estimates that cannot overflow, held against the limits. */
#include "image/image_private.h"

size_t image_product(size_t a, size_t b, size_t c)
{
    size_t r;
    return base_mul_size(a, b, &r) && base_mul_size(r, c, &r) ? r : SIZE_MAX;
}

size_t image_sum(size_t a, size_t b)
{
    size_t r;
    return base_add_size(a, b, &r) ? r : SIZE_MAX;
}

dermis_status image_check_size(image_info *info, const image_limits *limits, dermis_error *err)
{
    uint32_t w = info->stored_width, h = info->stored_height;
    if (w == 0 || h == 0)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the picture's header gives the size %ux%u: it is damaged, take it again",
                         w, h);
    if (w > limits->max_side || h > limits->max_side)
        return base_fail(err, DERMIS_E_PICTURE_LIMIT,
                         "the picture is %ux%u; a side may have %u pixels: make it smaller", w, h,
                         limits->max_side);
    if ((uint64_t)w * h > limits->max_pixels)
        return base_fail(
            err, DERMIS_E_PICTURE_LIMIT,
            "the picture is %ux%u, %.1f million pixels; %.1f are allowed: make it smaller", w, h,
            (double)w * h / 1e6, (double)limits->max_pixels / 1e6);
    bool swap = image_swaps_axes(info->orientation);
    info->width = swap ? h : w;
    info->height = swap ? w : h;
    return DERMIS_OK;
}

dermis_status image_check_memory(const char *what, size_t bytes, const image_limits *limits,
                                 dermis_error *err)
{
    if (limits->max_memory == 0 || bytes <= limits->max_memory)
        return DERMIS_OK;
    return base_fail(
        err, DERMIS_E_BUDGET,
        "%s needs %.1f MB and %.1f MB are allowed: save it as a baseline JPEG, make it "
        "smaller, or allow more memory",
        what, (double)bytes / 1e6, (double)limits->max_memory / 1e6);
}
