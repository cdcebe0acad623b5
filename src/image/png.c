/* png.c - PNG rows through libpng. A source belongs to one thread; close frees it. Rows stream;
 * an interlaced file costs its whole frame in its own channels (1, or 3 for colour).
 *
 * Only what makes pixels reaches libpng: every ancillary chunk is skipped unread, orientation is
 * found by a walk of our own. Critical chunks with a wrong checksum are damage (Pillow does not
 * check that of IDAT). Pixels as Pillow's convert('RGB'): alpha and tRNS dropped, no gamma; samples
 * of 16 bits give their high byte. */
#include "image/image_private.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

typedef struct png_source {
    image_source base;
    png_structp png;
    png_infop png_info;
    jmp_buf jump;
    const uint8_t *data;
    size_t size, at;
    bool interlaced, ended;
    unsigned channels; /* of a row as libpng gives it: 1 or 3 */
    bool indexed;
    uint8_t palette[256][3];
    uint8_t *line;  /* one row of libpng's, 1 channel only */
    uint8_t *frame; /* interlaced: all rows */
    uint32_t next;
    char message[96];
} png_source;

/* ---- libpng's callbacks ---- */

static void on_error(png_structp png, png_const_charp text)
{
    png_source *s = png_get_error_ptr(png);
    snprintf(s->message, sizeof s->message, "%s", text);
    longjmp(s->jump, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep out, size_t n)
{
    png_source *s = png_get_io_ptr(png);
    if (n > s->size - s->at) {
        s->ended = true;
        png_error(png, "the file ends early");
    }
    memcpy(out, s->data + s->at, n);
    s->at += n;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t n)
{
    (void)png;
    return base_alloc(BASE_TAG_IMAGE, n);
}

static void on_free(png_structp png, png_voidp p)
{
    (void)png;
    base_free(p);
}

/* ---- orientation: eXIf, the profile that ImageMagick writes as text, XMP as text ---- */

enum { TEXT_LIMIT = 1024 * 1024 }; /* Pillow's limit of a text chunk once inflated */

static uint32_t big_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Inflates at most TEXT_LIMIT bytes; NULL on damage or lack of memory. Free with base_free. */
static uint8_t *inflate_text(const uint8_t *data, size_t size, size_t *out_size)
{
    uint8_t *out = base_alloc(BASE_TAG_IMAGE, TEXT_LIMIT);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    if (!out || inflateInit(&z) != Z_OK) {
        base_free(out);
        return NULL;
    }
    z.next_out = out;
    z.avail_out = TEXT_LIMIT;
    int code = inflate(&z, Z_FINISH);
    *out_size = TEXT_LIMIT - z.avail_out;
    inflateEnd(&z);
    if (code == Z_STREAM_END)
        return out;
    base_free(out);
    return NULL;
}

/* "\nexif\n  <bytes>\n" and then hexadecimal digits in lines */
static unsigned hex_profile_orientation(const uint8_t *text, size_t size)
{
    const uint8_t *p = text, *end = text + size;
    for (int line = 0; line < 3; line++) {
        p = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (!p)
            return 0;
        p++;
    }
    uint8_t *bytes = base_alloc(BASE_TAG_IMAGE, (size_t)(end - p) / 2 + 1);
    if (!bytes)
        return 0;
    size_t n = 0;
    int half = -1;
    for (; p < end; p++) {
        int digit = *p >= '0' && *p <= '9'   ? *p - '0'
                    : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
                    : *p >= 'A' && *p <= 'F' ? *p - 'A' + 10
                                             : -1;
        if (digit < 0)
            continue;
        if (half < 0) {
            half = digit;
        } else {
            bytes[n++] = (uint8_t)(half << 4 | digit);
            half = -1;
        }
    }
    unsigned orientation = image_exif_orientation(bytes, n);
    base_free(bytes);
    return orientation;
}

typedef struct found {
    unsigned exif, profile, xmp;
} found;

/* One tEXt, zTXt or iTXt chunk. */
static void read_text(const uint8_t *type, const uint8_t *data, size_t size, found *f)
{
    const uint8_t *nul = memchr(data, 0, size), *end = data + size;
    if (!nul)
        return;
    size_t key = (size_t)(nul - data);
    bool profile = key == 21 && memcmp(data, "Raw profile type exif", 21) == 0;
    bool xmp = key == 17 && memcmp(data, "XML:com.adobe.xmp", 17) == 0;
    if (!profile && !xmp)
        return;
    const uint8_t *text = nul + 1;
    bool packed = type[0] == 'z';
    if (packed) {
        if (text >= end || *text++ != 0)
            return;
    } else if (type[0] == 'i') {
        if (end - text < 2)
            return;
        packed = text[0] != 0;
        if (packed && text[1] != 0)
            return;
        text += 2;
        for (int i = 0; i < 2; i++) { /* language, translated keyword */
            text = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;
            if (!text)
                return;
            text++;
        }
    }
    size_t n = (size_t)(end - text);
    uint8_t *inflated = NULL;
    if (packed) {
        inflated = inflate_text(text, n, &n);
        if (!inflated)
            return;
        text = inflated;
    }
    if (profile)
        f->profile = hex_profile_orientation(text, n);
    else
        f->xmp = image_xmp_orientation(text, n);
    base_free(inflated);
}

static unsigned find_orientation(const uint8_t *data, size_t size)
{
    found f = {0, 0, 0};
    bool has_exif = false;
    for (size_t at = 8; size - at >= 12;) {
        uint32_t n = big_u32(data + at);
        const uint8_t *type = data + at + 4;
        if (n > size - at - 12 || memcmp(type, "IEND", 4) == 0)
            break;
        if (memcmp(type, "eXIf", 4) == 0) {
            has_exif = true;
            f.exif = image_exif_orientation(type + 4, n);
        } else if (memcmp(type, "tEXt", 4) == 0 || memcmp(type, "zTXt", 4) == 0 ||
                   memcmp(type, "iTXt", 4) == 0) {
            read_text(type, type + 4, n, &f);
        }
        at += (size_t)n + 12;
    }
    unsigned orientation = has_exif ? f.exif : f.profile;
    if (!orientation)
        orientation = f.xmp;
    return orientation ? orientation : 1;
}

/* ---- header ---- */

static dermis_status png_failed(const png_source *s, dermis_error *err)
{
    if (s->ended)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the PNG ends before its picture does (in row %u of %u): the file is "
                         "truncated, copy it again",
                         s->next, s->base.info.stored_height);
    if (strstr(s->message, "memory"))
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the PNG");
    return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                     "the PNG is damaged (%s): copy or save it again", s->message);
}

static dermis_status read_header(png_source *s, const image_limits *limits, dermis_error *err)
{
    const uint8_t *d = s->data;
    if (s->size < 33)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the PNG ends within its header: the file is truncated, copy it again");
    if (big_u32(d + 8) != 13 || memcmp(d + 12, "IHDR", 4) != 0)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the PNG does not begin with its header: it is damaged, copy it again");
    image_info *info = &s->base.info;
    uint8_t depth = d[24], colour = d[25];
    info->stored_width = big_u32(d + 16);
    info->stored_height = big_u32(d + 20);
    s->interlaced = info->progressive = d[28] != 0;
    s->indexed = colour == 3;
    s->channels = colour & 2 && !s->indexed ? 3 : 1;
    info->has_alpha = (colour & 4) != 0;
    dermis_status status = image_check_size(info, limits, err);
    if (status != DERMIS_OK)
        return status;
    info->orientation = (uint8_t)find_orientation(s->data, s->size);
    image_check_size(info, limits, NULL); /* width and height again, now oriented */
    /* two rows in the file's own samples (up to 4 of 2 bytes; libpng's read and previous row),
     * zlib's window, and the frame */
    size_t w = info->stored_width;
    size_t row = w * (size_t)(s->indexed ? 1 : (colour & 2 ? 3 : 1) + (colour & 4 ? 1 : 0)) *
                 (depth == 16 ? 2 : 1);
    info->memory_bytes = 128 * 1024 + sizeof *s + image_sum(image_product(row, 3, 1), w);
    if (s->interlaced)
        info->memory_bytes =
            image_sum(info->memory_bytes, image_product(w, info->stored_height, s->channels));
    return image_check_memory(s->interlaced ? "this interlaced PNG" : "this PNG",
                              info->memory_bytes, limits, err);
}

/* ---- rows ---- */

static void fill_palette(png_source *s)
{
    png_colorp colours = NULL;
    int n = 0;
    for (int i = 0; i < 256; i++) /* entries that the file leaves out: Pillow's */
        memset(s->palette[i], 0, 3);
    if (!png_get_PLTE(s->png, s->png_info, &colours, &n))
        png_error(s->png, "it has no palette");
    for (int i = 0; i < n && i < 256; i++) {
        s->palette[i][0] = colours[i].red;
        s->palette[i][1] = colours[i].green;
        s->palette[i][2] = colours[i].blue;
    }
}

static dermis_status start(png_source *s, dermis_error *err)
{
    s->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, s, on_error, on_warning, NULL,
                                      on_alloc, on_free);
    if (!s->png)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the PNG");
    if (setjmp(s->jump))
        return png_failed(s, err);
    s->png_info = png_create_info_struct(s->png);
    if (!s->png_info)
        png_error(s->png, "out of memory");
    png_set_read_fn(s->png, s, on_read);
    png_set_user_limits(s->png, s->base.info.stored_width, s->base.info.stored_height);
    static const uint8_t skipped[] =
        "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0"
        "sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0tRNS\0zTXt\0";
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, skipped, (sizeof skipped - 1) / 5);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    png_set_crc_action(s->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_option(s->png, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
#endif
    png_read_info(s->png, s->png_info);
    if (s->indexed)
        fill_palette(s);
    png_set_strip_16(s->png);
    png_set_strip_alpha(s->png);
    if (s->indexed)
        png_set_packing(s->png);
    else
        png_set_expand_gray_1_2_4_to_8(s->png);
    int passes = png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->png_info);
    size_t row = (size_t)s->base.info.stored_width * s->channels;
    if (png_get_rowbytes(s->png, s->png_info) != row)
        png_error(s->png, "its header is contradictory");
    if (s->channels == 1)
        s->line = base_alloc(BASE_TAG_IMAGE, row);
    if (s->interlaced)
        s->frame = base_calloc(BASE_TAG_IMAGE, s->base.info.stored_height, row);
    if ((s->channels == 1 && !s->line) || (s->interlaced && !s->frame))
        png_error(s->png, "out of memory");
    if (s->interlaced)
        for (int pass = 0; pass < passes; pass++)
            for (uint32_t y = 0; y < s->base.info.stored_height; y++)
                png_read_row(s->png, s->frame + y * row, NULL);
    return DERMIS_OK;
}

static dermis_status png_row(image_source *source, uint8_t *rgb, dermis_error *err)
{
    png_source *s = (png_source *)source;
    if (!s->png) {
        dermis_status status = start(s, err);
        if (status != DERMIS_OK)
            return status;
    }
    if (setjmp(s->jump))
        return png_failed(s, err);
    uint32_t w = s->base.info.stored_width;
    const uint8_t *in;
    if (s->interlaced) {
        in = s->frame + (size_t)s->next * w * s->channels;
        if (s->channels == 3)
            memcpy(rgb, in, (size_t)w * 3);
    } else {
        png_read_row(s->png, s->channels == 3 ? rgb : s->line, NULL);
        in = s->line;
    }
    s->next++;
    if (s->indexed)
        for (uint32_t x = 0; x < w; x++)
            memcpy(rgb + 3 * (size_t)x, s->palette[in[x]], 3);
    else if (s->channels == 1)
        for (uint32_t x = 0; x < w; x++)
            memset(rgb + 3 * (size_t)x, in[x], 3);
    return DERMIS_OK;
}

static void png_close(image_source *source)
{
    png_source *s = (png_source *)source;
    if (!s)
        return;
    png_destroy_read_struct(&s->png, &s->png_info, NULL);
    base_free(s->line);
    base_free(s->frame);
    base_free(s);
}

dermis_status image_png_open(const uint8_t *data, size_t size, const image_limits *limits,
                             bool header_only, image_info *info, image_source **out,
                             dermis_error *err)
{
    png_source *s = base_calloc(BASE_TAG_IMAGE, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the PNG");
    s->base = (image_source){.info = *info, .row = png_row, .close = png_close};
    s->data = data;
    s->size = size;
    dermis_status status = read_header(s, limits, err);
    if (status == DERMIS_OK)
        *info = s->base.info;
    if (status == DERMIS_OK && !header_only)
        *out = &s->base;
    else
        png_close(&s->base);
    return status;
}
