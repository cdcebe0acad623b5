/* overlay.c - a heat map over a photograph, written as PNG or JPEG row by row. Where orientation
 * only mirrors rows nothing but rows is held; where it turns or flips the picture, stored rows come
 * in another order than written ones, so a frame of RGB is held (image_overlay_memory counts it).
 */
#include "image/image_private.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

/* ---- writers: open, rows from the top, close ---- */

enum { JPEG_QUALITY = 90, PNG_LEVEL = 2 }; /* PNG: level 4 takes twice the time for 4 % */

typedef struct writer {
    image_encoding encoding;
    FILE *out;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    png_structp png;
    png_infop png_info;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    bool jpeg_made;
} writer;

static void png_fail(png_structp png, png_const_charp text)
{
    writer *w = png_get_error_ptr(png);
    snprintf(w->message, sizeof w->message, "%s", text);
    longjmp(w->jump, 1);
}

static void png_quiet(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static png_voidp png_alloc(png_structp png, png_alloc_size_t n)
{
    (void)png;
    return base_alloc(BASE_TAG_IMAGE, n);
}

static void png_release(png_structp png, png_voidp p)
{
    (void)png;
    base_free(p);
}

static void png_put(png_structp png, png_bytep bytes, size_t n)
{
    writer *w = png_get_io_ptr(png);
    if (fwrite(bytes, 1, n, w->out) != n)
        png_error(png, "writing failed");
}

static void png_flush_nothing(png_structp png)
{
    (void)png;
}

static void jpeg_fail(j_common_ptr cinfo)
{
    writer *w = cinfo->client_data;
    cinfo->err->format_message(cinfo, w->message);
    longjmp(w->jump, 1);
}

static void jpeg_quiet(j_common_ptr cinfo)
{
    (void)cinfo;
}

static dermis_status writer_failed(const writer *w, dermis_error *err)
{
    return base_fail(err, DERMIS_E_IO, "the overlay cannot be written (%s): is the disk full?",
                     w->message);
}

static dermis_status writer_open(writer *w, uint32_t width, uint32_t height, dermis_error *err)
{
    if (setjmp(w->jump))
        return writer_failed(w, err);
    if (w->encoding == IMAGE_ENCODE_PNG) {
        w->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, w, png_fail, png_quiet, NULL,
                                           png_alloc, png_release);
        w->png_info = w->png ? png_create_info_struct(w->png) : NULL;
        if (!w->png_info)
            return base_fail(err, DERMIS_E_MEMORY, "not enough memory to write the overlay");
        png_set_write_fn(w->png, w, png_put, png_flush_nothing);
        png_set_IHDR(w->png, w->png_info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_set_compression_level(w->png, PNG_LEVEL);
        png_set_filter(w->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB | PNG_FILTER_UP);
        png_write_info(w->png, w->png_info);
        return DERMIS_OK;
    }
    w->jpeg.err = jpeg_std_error(&w->errors);
    w->errors.error_exit = jpeg_fail;
    w->errors.output_message = jpeg_quiet;
    w->jpeg.client_data = w;
    jpeg_create_compress(&w->jpeg);
    w->jpeg_made = true;
    w->jpeg.client_data = w;
    jpeg_stdio_dest(&w->jpeg, w->out);
    w->jpeg.image_width = width;
    w->jpeg.image_height = height;
    w->jpeg.input_components = 3;
    w->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&w->jpeg);
    jpeg_set_quality(&w->jpeg, JPEG_QUALITY, TRUE);
    w->jpeg.comp_info[0].h_samp_factor = w->jpeg.comp_info[0].v_samp_factor = 1; /* 4:4:4 */
    jpeg_start_compress(&w->jpeg, TRUE);
    return DERMIS_OK;
}

static dermis_status writer_row(writer *w, uint8_t *rgb, dermis_error *err)
{
    if (setjmp(w->jump))
        return writer_failed(w, err);
    if (w->encoding == IMAGE_ENCODE_PNG)
        png_write_row(w->png, rgb);
    else
        jpeg_write_scanlines(&w->jpeg, &rgb, 1);
    return DERMIS_OK;
}

static dermis_status writer_end(writer *w, dermis_error *err)
{
    if (setjmp(w->jump))
        return writer_failed(w, err);
    if (w->encoding == IMAGE_ENCODE_PNG)
        png_write_end(w->png, w->png_info);
    else
        jpeg_finish_compress(&w->jpeg);
    return DERMIS_OK;
}

static void writer_release(writer *w)
{
    if (w->png)
        png_destroy_write_struct(&w->png, &w->png_info);
    if (w->jpeg_made && !setjmp(w->jump))
        jpeg_destroy_compress(&w->jpeg);
}

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

static void blend_row(const blend *b, uint32_t y, uint8_t *rgb)
{
    float f;
    uint32_t row = place(y, b->height, b->map_h, &f);
    const float *upper = b->map + (size_t)row * b->map_w;
    const float *lower = f > 0.0f ? upper + b->map_w : upper;
    for (uint32_t i = 0; i < b->map_w; i++)
        b->line[i] = unit(upper[i]) * (1.0f - f) + unit(lower[i]) * f;
    for (uint32_t x = 0; x < b->width; x++, rgb += 3) {
        const column *at = &b->columns[x];
        float v = b->line[at->cell] * (1.0f - at->fraction) + b->line[at->next] * at->fraction;
        int index = (int)(v * 256.0f); /* as matplotlib: 1.0 falls into the last of 256 bins */
        const uint8_t *heat = b->colours[index > 255 ? 255 : index];
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
                          writer *w, dermis_error *err)
{
    const image_info *info = &source->info;
    dermis_status status = DERMIS_OK;
    for (uint32_t y = 0; frame && status == DERMIS_OK && y < info->stored_height; y++)
        status = source->row(source, frame + (size_t)y * info->stored_width * 3, err);
    if (status == DERMIS_OK)
        status = writer_open(w, info->width, info->height, err);
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
        status = writer_row(w, row, err);
    }
    return status == DERMIS_OK ? writer_end(w, err) : status;
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
    if (status == DERMIS_OK && encoding == IMAGE_ENCODE_JPEG &&
        (head.width > JPEG_MAX_DIMENSION || head.height > JPEG_MAX_DIMENSION))
        status = base_fail(err, DERMIS_E_PICTURE_LIMIT,
                           "a JPEG's side may have %ld pixels: write the overlay as PNG",
                           (long)JPEG_MAX_DIMENSION);
    if (status != DERMIS_OK)
        return status;

    image_source *source = NULL;
    writer *w = base_calloc(BASE_TAG_IMAGE, 1, sizeof *w);
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
    if (!w || !row || !b.line || !b.columns || (framed && !frame)) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to draw the overlay");
        goto done;
    }
    fill_columns(&b);
    w->encoding = encoding;
    w->out = out;
    status = image_source_open(data, size, limits, &source, err);
    if (status == DERMIS_OK)
        status = draw(source, &b, frame, row, w, err);
    writer_release(w);
done:
    if (source)
        source->close(source);
    base_free(w);
    base_free(row);
    base_free(frame);
    base_free(b.line);
    base_free(b.columns);
    return status;
}
