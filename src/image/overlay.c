/* overlay.c - a heat map over a photograph, written as PNG or JPEG row by row. Where orientation
 * only mirrors rows nothing but rows is held; where it turns or flips the picture, stored rows come
 * in another order than written ones, so a frame of RGB is held (image_overlay_memory counts it).
 */
#include "image/image_private.h"

#include <math.h>
#include <string.h>

/* ---- the blend ---- */

typedef struct column {
    uint32_t cell, next; /* of the map's row; next = cell at the right edge */
    float fraction;
} column;

typedef struct blend {
    const float *map;
    uint32_t map_w, map_h, width, height;
    const uint8_t (*colours)[3];
    float alpha;
    float *line;     /* the map's two rows at this height, mixed: map_w values */
    column *columns; /* width of them: the same for every row */
} blend;

static float unit(float v)
{
    return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f;
} /* NaN: 0 */

/* Half-pixel centres: pixel i of n lies at (i + 0.5) * cells / n - 0.5 of the map, held at the
 * edges. */
static uint32_t place(uint32_t i, uint32_t n, uint32_t cells, float *fraction)
{
    double at = (i + 0.5) * cells / n - 0.5;
    if (at <= 0.0) {
        *fraction = 0.0f;
        return 0;
    }
    uint32_t cell = (uint32_t)at;
    if (cell + 1 >= cells) {
        *fraction = 0.0f;
        return cells - 1;
    }
    *fraction = (float)(at - cell);
    return cell;
}

static void fill_columns(const blend *b)
{
    for (uint32_t x = 0; x < b->width; x++) {
        column *c = &b->columns[x];
        c->cell = place(x, b->width, b->map_w, &c->fraction);
        c->next = c->fraction > 0.0f ? c->cell + 1 : c->cell;
    }
}

/* As matplotlib: 1.0 falls into the last of 256 bins. */
static unsigned bin(float v)
{
    unsigned index = (unsigned)(v * 256.0f);
    return index > 255 ? 255 : index;
}

/* The map's two rows at height y, mixed, into `line`. */
static void mix_rows(const blend *b, uint32_t y)
{
    float f;
    uint32_t row = place(y, b->height, b->map_h, &f);
    const float *upper = b->map + (size_t)row * b->map_w;
    const float *lower = f > 0.0f ? upper + b->map_w : upper;
    for (uint32_t i = 0; i < b->map_w; i++)
        b->line[i] = unit(upper[i]) * (1.0f - f) + unit(lower[i]) * f;
}

static float value_at(const blend *b, uint32_t x)
{
    const column *at = &b->columns[x];
    return b->line[at->cell] * (1.0f - at->fraction) + b->line[at->next] * at->fraction;
}

static void blend_row(const blend *b, uint32_t y, uint8_t *rgb)
{
    mix_rows(b, y);
    for (uint32_t x = 0; x < b->width; x++, rgb += 3) {
        const uint8_t *heat = b->colours[bin(value_at(b, x))];
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(b->alpha * heat[c] + (1.0f - b->alpha) * rgb[c] + 0.5f);
    }
}

/* ---- orientation ---- */

/* Row y of the oriented picture, from a frame of stored pixels. */
static void oriented_row(const uint8_t *frame, const image_info *info, uint32_t y, uint8_t *rgb)
{
    bool swap = image_swaps_axes(info->orientation);
    uint32_t yy = image_flips_y(info->orientation) ? info->height - 1 - y : y;
    size_t pitch = (size_t)info->stored_width * 3;
    for (uint32_t x = 0; x < info->width; x++, rgb += 3) {
        uint32_t xx = image_flips_x(info->orientation) ? info->width - 1 - x : x;
        memcpy(rgb,
               swap ? frame + xx * pitch + (size_t)yy * 3 : frame + yy * pitch + (size_t)xx * 3, 3);
    }
}

static void mirror_row(uint8_t *rgb, uint32_t pixels)
{
    for (uint32_t a = 0, b = pixels - 1; a < b; a++, b--)
        for (int c = 0; c < 3; c++) {
            uint8_t v = rgb[3 * (size_t)a + c];
            rgb[3 * (size_t)a + c] = rgb[3 * (size_t)b + c];
            rgb[3 * (size_t)b + c] = v;
        }
}

static bool needs_frame(unsigned orientation)
{
    return image_swaps_axes(orientation) || image_flips_y(orientation);
}

size_t image_overlay_memory(const image_info *info)
{
    /* two rows, libjpeg's rows of MCUs, or libpng's rows and zlib's deflate state */
    size_t total = image_sum(info->memory_bytes, image_product(info->width, 3, 44));
    total = image_sum(total, 512 * 1024);
    if (needs_frame(info->orientation))
        total = image_sum(total, image_product(info->stored_width, info->stored_height, 3));
    return total;
}

/* All that stands between the opened source and the last row written. */
static dermis_status draw(image_source *source, const blend *b, uint8_t *frame, uint8_t *row,
                          const image_writer_options *options, FILE *out, dermis_error *err)
{
    const image_info *info = &source->info;
    image_writer *w = NULL;
    dermis_status status = DERMIS_OK;
    for (uint32_t y = 0; frame && status == DERMIS_OK && y < info->stored_height; y++)
        status = source->row(source, frame + (size_t)y * info->stored_width * 3, err);
    if (status == DERMIS_OK)
        status = image_writer_open(options, info->width, info->height, out, &w, err);
    for (uint32_t y = 0; status == DERMIS_OK && y < info->height; y++) {
        if (frame)
            oriented_row(frame, info, y, row);
        else
            status = source->row(source, row, err);
        if (status != DERMIS_OK)
            break;
        if (!frame && image_flips_x(info->orientation))
            mirror_row(row, info->width);
        blend_row(b, y, row);
        status = image_writer_row(w, row, err);
    }
    if (status == DERMIS_OK)
        status = image_writer_end(w, err);
    image_writer_free(w);
    return status;
}

dermis_status image_overlay(const uint8_t *data, size_t size, const image_limits *limits,
                            const float *map, uint32_t map_h, uint32_t map_w,
                            image_colormap colormap, float alpha, image_encoding encoding,
                            FILE *out, dermis_error *err)
{
    image_limits defaults;
    if (!limits) {
        image_limits_default(&defaults);
        limits = &defaults;
    }
    if (!map || map_h == 0 || map_w == 0 || !(alpha >= 0.0f && alpha <= 1.0f) ||
        (unsigned)colormap > IMAGE_INFERNO)
        return base_fail(err, DERMIS_E_USAGE,
                         "an overlay needs a map, a colormap and alpha in 0..1");
    image_info head;
    dermis_status status = image_probe(data, size, limits, &head, err);
    if (status == DERMIS_OK)
        status = image_check_memory("the overlay of this picture", image_overlay_memory(&head),
                                    limits, err);
    if (status != DERMIS_OK)
        return status;

    image_source *source = NULL;
    image_writer_options options = {.encoding = encoding, .quality = 90};
    uint8_t *row = base_calloc(BASE_TAG_IMAGE, head.width, 3), *frame = NULL;
    blend b = {.map = map,
               .map_w = map_w,
               .map_h = map_h,
               .width = head.width,
               .height = head.height,
               .colours = image_colormap_table(colormap),
               .alpha = alpha,
               .line = base_calloc(BASE_TAG_IMAGE, map_w, sizeof(float)),
               .columns = base_calloc(BASE_TAG_IMAGE, head.width, sizeof(column))};
    bool framed = needs_frame(head.orientation);
    if (framed)
        frame = base_alloc(BASE_TAG_IMAGE, image_product(head.stored_width, head.stored_height, 3));
    if (!row || !b.line || !b.columns || (framed && !frame)) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to draw the overlay");
        goto done;
    }
    fill_columns(&b);
    status = image_source_open(data, size, limits, &source, err);
    if (status == DERMIS_OK)
        status = draw(source, &b, frame, row, &options, out, err);
done:
    if (source)
        source->close(source);
    base_free(row);
    base_free(frame);
    base_free(b.line);
    base_free(b.columns);
    return status;
}

dermis_status image_heat(const float *map, uint32_t map_h, uint32_t map_w, image_colormap colormap,
                         uint32_t width, uint32_t height, FILE *out, dermis_error *err)
{
    if (!map || map_h == 0 || map_w == 0 || width == 0 || height == 0 || width > 4096 || height > 4096 ||
        (unsigned)colormap > IMAGE_INFERNO)
        return base_fail(err, DERMIS_E_USAGE, "heat needs a map, a colormap and 1 to 4096 pixels a side");
    image_writer_options options = {.encoding = IMAGE_ENCODE_PNG, .palette = image_colormap_table(colormap)};
    image_writer *w = NULL;
    uint8_t *row = base_alloc(BASE_TAG_IMAGE, width);
    blend b = {.map = map,
               .map_w = map_w,
               .map_h = map_h,
               .width = width,
               .height = height,
               .line = base_calloc(BASE_TAG_IMAGE, map_w, sizeof(float)),
               .columns = base_calloc(BASE_TAG_IMAGE, width, sizeof(column))};
    dermis_status status = row && b.line && b.columns
                               ? image_writer_open(&options, width, height, out, &w, err)
                               : base_fail(err, DERMIS_E_MEMORY, "not enough memory to draw the map");
    if (status == DERMIS_OK)
        fill_columns(&b);
    for (uint32_t y = 0; y < height && !status; y++) {
        mix_rows(&b, y);
        for (uint32_t x = 0; x < width; x++)
            row[x] = (uint8_t)bin(value_at(&b, x));
        status = image_writer_row(w, row, err);
    }
    if (status == DERMIS_OK)
        status = image_writer_end(w, err);
    image_writer_free(w);
    base_free(row);
    base_free(b.line);
    base_free(b.columns);
    return status;
}
