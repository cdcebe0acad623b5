/* photo.c - a photograph written anew: upright, reduced, without metadata. Rows go from the resize to
 * the writer as they come; where orientation turns or flips the picture the reduced frame is held. */
#include "image/image_private.h"

static void sizes(const image_info *info, const image_crop *crop, uint32_t max_side, uint32_t *width,
                  uint32_t *height)
{
    bool part = crop && crop->width && crop->height;
    uint32_t w = part ? crop->width : info->width, h = part ? crop->height : info->height;
    uint32_t longest = w > h ? w : h;
    *width = w;
    *height = h;
    if (max_side == 0 || longest <= max_side)
        return;
    *width = (uint32_t)(((uint64_t)w * max_side + longest / 2) / longest);
    *height = (uint32_t)(((uint64_t)h * max_side + longest / 2) / longest);
    *width = *width ? *width : 1;
    *height = *height ? *height : 1;
}

size_t image_photo_memory(const image_info *info, const image_crop *crop, uint32_t max_side)
{
    uint32_t width, height;
    sizes(info, crop, max_side, &width, &height);
    size_t total = image_tensor_memory(info, crop, width, height, 3);
    total = image_sum(total, image_product(width, 3, image_in_order(info) ? 1 : height));
    return image_sum(total, image_sum(image_product(width, 3, 44), 256 * 1024)); /* libjpeg's rows of MCUs */
}

static dermis_status write_row(void *writer, uint8_t *row, dermis_error *err)
{
    return image_writer_row(writer, row, err);
}

dermis_status image_photo(const uint8_t *data, size_t size, const image_limits *limits,
                          const image_crop *crop, uint32_t max_side, int quality, FILE *out,
                          uint32_t *width, uint32_t *height, dermis_error *err)
{
    image_limits defaults;
    image_info head;
    uint32_t w, h;
    if (!limits) {
        image_limits_default(&defaults);
        limits = &defaults;
    }
    dermis_status status = image_probe(data, size, limits, &head, err);
    if (status == DERMIS_OK)
        status = image_check_crop(&head, crop, err);
    if (status == DERMIS_OK)
        status = image_check_memory("storing the picture", image_photo_memory(&head, crop, max_side), limits, err);
    if (status != DERMIS_OK)
        return status;
    sizes(&head, crop, max_side, &w, &h);
    bool stream = image_in_order(&head);
    image_writer_options options = {.encoding = IMAGE_ENCODE_JPEG, .quality = quality, .halved = true};
    image_writer *writer = NULL;
    uint8_t *frame = base_alloc(BASE_TAG_IMAGE, image_product(w, 3, stream ? 1 : h));
    status = frame ? image_writer_open(&options, w, h, out, &writer, err)
                   : base_fail(err, DERMIS_E_MEMORY, "not enough memory to store the picture");
    if (status == DERMIS_OK) {
        image_sink sink = {.frame = frame, .row = stream ? write_row : NULL, .context = writer};
        status = image_resize(data, size, limits, &head, crop, w, h, 3, &sink, err);
    }
    for (uint32_t y = 0; y < h && !stream && !status; y++)
        status = image_writer_row(writer, frame + (size_t)y * w * 3, err);
    if (status == DERMIS_OK)
        status = image_writer_end(writer, err);
    image_writer_free(writer);
    base_free(frame);
    if (status == DERMIS_OK) {
        *width = w;
        *height = h;
    }
    return status;
}
