/* photo.c - a picture written anew, upright, reduced, without metadata, in one or more sizes: each copy is
 * made from the rows of the one before, the first from the picture's. Rows go from a resize to its writer
 * as they come; where orientation turns or flips the picture the first copy is held as a frame. */
#include "image/image_private.h"

typedef struct stage stage;
struct stage {
    image_resize *resize;
    image_writer *writer;
    uint8_t *frame; /* one row, or the whole where the picture does not come in order */
    uint32_t width, height;
    stage *next; /* is fed this one's rows; or NULL */
};

struct image_copies {
    unsigned count;
    bool in_order;
    stage stages[];
};

static void reduce(uint32_t w, uint32_t h, uint32_t max_side, uint32_t *width, uint32_t *height)
{
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

/* What the next copy is made from. */
static image_info upright(uint32_t width, uint32_t height)
{
    return (image_info){.width = width, .height = height, .stored_width = width, .stored_height = height, .orientation = 1};
}

size_t image_copies_memory(const image_info *part, const image_copy *copies, unsigned count)
{
    image_info from = *part;
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t width, height;
        reduce(from.width, from.height, copies[i].max_side, &width, &height);
        total = image_sum(total, image_resize_memory(&from, width, height, 3));
        total = image_sum(total, image_product(width, 3, image_in_order(&from) ? 1 : height));
        total = image_sum(total, image_sum(image_product(width, 3, 44), 256 * 1024)); /* libjpeg's rows of MCUs */
        from = upright(width, height);
    }
    return total;
}

static dermis_status take_row(void *context, uint8_t *row, dermis_error *err)
{
    stage *s = context;
    dermis_status status = s->next ? image_resize_push(s->next->resize, row, err) : DERMIS_OK;
    return status ? status : image_writer_row(s->writer, row, err);
}

static dermis_status stage_open(stage *s, const image_info *from, const image_copy *copy, dermis_error *err)
{
    image_writer_options options = {.encoding = IMAGE_ENCODE_JPEG, .quality = copy->quality, .halved = true};
    bool in_order = image_in_order(from);
    reduce(from->width, from->height, copy->max_side, &s->width, &s->height);
    s->frame = base_alloc(BASE_TAG_IMAGE, image_product(s->width, 3, in_order ? 1 : s->height));
    if (!s->frame)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to store the picture");
    image_sink sink = {.frame = s->frame, .row = in_order ? take_row : NULL, .context = s};
    dermis_status status = image_resize_new(from, s->width, s->height, 3, &sink, &s->resize, err);
    return status ? status : image_writer_open(&options, s->width, s->height, copy->out, &s->writer, err);
}

dermis_status image_copies_new(const image_info *part, const image_copy *copies, unsigned count, image_copies **out,
                               dermis_error *err)
{
    image_copies *c = base_calloc(BASE_TAG_IMAGE, 1, sizeof *c + count * sizeof *c->stages);
    if (!c)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to store the picture");
    image_info from = *part;
    dermis_status status = DERMIS_OK;
    c->count = count;
    c->in_order = image_in_order(part);
    for (unsigned i = 0; i < count && !status; i++) {
        status = stage_open(&c->stages[i], &from, &copies[i], err);
        c->stages[i].next = i + 1 < count ? &c->stages[i + 1] : NULL;
        from = upright(c->stages[i].width, c->stages[i].height);
    }
    if (status != DERMIS_OK) {
        image_copies_free(c);
        return status;
    }
    *out = c;
    return DERMIS_OK;
}

dermis_status image_copies_push(image_copies *c, const uint8_t *rgb, dermis_error *err)
{
    return image_resize_push(c->stages[0].resize, rgb, err);
}

dermis_status image_copies_end(image_copies *c, image_copy *copies, dermis_error *err)
{
    stage *first = &c->stages[0];
    dermis_status status = DERMIS_OK;
    for (uint32_t y = 0; y < first->height && !c->in_order && !status; y++)
        status = take_row(first, first->frame + (size_t)y * first->width * 3, err);
    for (unsigned i = 0; i < c->count && !status; i++) {
        status = image_writer_end(c->stages[i].writer, err);
        copies[i].width = c->stages[i].width;
        copies[i].height = c->stages[i].height;
    }
    return status;
}

void image_copies_free(image_copies *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->count; i++) {
        image_resize_free(c->stages[i].resize);
        image_writer_free(c->stages[i].writer);
        base_free(c->stages[i].frame);
    }
    base_free(c);
}
