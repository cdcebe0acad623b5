/* writer.c - pictures written row by row: PNG in colours or with a palette, JPEG. The libraries' errors
 * jump back into the function that was called. */
#include "image/image_private.h"

#include <setjmp.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#define PNG_LEVEL 2 /* level 4 takes twice the time for 4 % */

struct image_writer {
    image_writer_options options;
    FILE *out;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    png_structp png;
    png_infop png_info;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    bool jpeg_made;
};

static void png_fail(png_structp png, png_const_charp text)
{
    image_writer *w = png_get_error_ptr(png);
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
    image_writer *w = png_get_io_ptr(png);
    if (fwrite(bytes, 1, n, w->out) != n)
        png_error(png, "writing failed");
}

static void png_flush_nothing(png_structp png)
{
    (void)png;
}

static void jpeg_fail(j_common_ptr cinfo)
{
    image_writer *w = cinfo->client_data;
    cinfo->err->format_message(cinfo, w->message);
    longjmp(w->jump, 1);
}

static void jpeg_quiet(j_common_ptr cinfo)
{
    (void)cinfo;
}

static dermis_status failed(const image_writer *w, dermis_error *err)
{
    return base_fail(err, DERMIS_E_IO, "the picture cannot be written (%s): is the disk full?",
                     w->message);
}

static dermis_status begin(image_writer *w, uint32_t width, uint32_t height, dermis_error *err)
{
    if (setjmp(w->jump))
        return failed(w, err);
    const image_writer_options *o = &w->options;
    if (o->encoding == IMAGE_ENCODE_PNG) {
        w->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, w, png_fail, png_quiet, NULL,
                                           png_alloc, png_release);
        w->png_info = w->png ? png_create_info_struct(w->png) : NULL;
        if (!w->png_info)
            return base_fail(err, DERMIS_E_MEMORY, "not enough memory to write the picture");
        png_set_write_fn(w->png, w, png_put, png_flush_nothing);
        png_set_IHDR(w->png, w->png_info, width, height, 8,
                     o->palette ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        if (o->palette) {
            png_color colours[256];
            for (int i = 0; i < 256; i++)
                colours[i] = (png_color){o->palette[i][0], o->palette[i][1], o->palette[i][2]};
            png_set_PLTE(w->png, w->png_info, colours, 256);
        }
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
    jpeg_set_quality(&w->jpeg, o->quality, TRUE);
    /* 2: 4:2:0, 1: 4:4:4 */
    w->jpeg.comp_info[0].h_samp_factor = w->jpeg.comp_info[0].v_samp_factor = o->halved ? 2 : 1;
    jpeg_start_compress(&w->jpeg, TRUE);
    return DERMIS_OK;
}

dermis_status image_writer_row(image_writer *w, uint8_t *row, dermis_error *err)
{
    if (setjmp(w->jump))
        return failed(w, err);
    if (w->options.encoding == IMAGE_ENCODE_PNG)
        png_write_row(w->png, row);
    else
        jpeg_write_scanlines(&w->jpeg, &row, 1);
    return DERMIS_OK;
}

dermis_status image_writer_end(image_writer *w, dermis_error *err)
{
    if (setjmp(w->jump))
        return failed(w, err);
    if (w->options.encoding == IMAGE_ENCODE_PNG)
        png_write_end(w->png, w->png_info);
    else
        jpeg_finish_compress(&w->jpeg);
    return DERMIS_OK;
}

void image_writer_free(image_writer *w)
{
    if (!w)
        return;
    if (w->png)
        png_destroy_write_struct(&w->png, &w->png_info);
    if (w->jpeg_made && !setjmp(w->jump))
        jpeg_destroy_compress(&w->jpeg);
    base_free(w);
}

dermis_status image_writer_open(const image_writer_options *options, uint32_t width, uint32_t height,
                                FILE *out, image_writer **writer, dermis_error *err)
{
    if (options->encoding == IMAGE_ENCODE_JPEG &&
        (width > JPEG_MAX_DIMENSION || height > JPEG_MAX_DIMENSION))
        return base_fail(err, DERMIS_E_PICTURE_LIMIT,
                         "a JPEG's side may have %ld pixels: write the picture as PNG, or smaller",
                         (long)JPEG_MAX_DIMENSION);
    image_writer *w = base_calloc(BASE_TAG_IMAGE, 1, sizeof *w);
    if (!w)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to write the picture");
    w->options = *options;
    w->out = out;
    dermis_status status = begin(w, width, height, err);
    if (status != DERMIS_OK) {
        image_writer_free(w);
        return status;
    }
    *writer = w;
    return DERMIS_OK;
}
