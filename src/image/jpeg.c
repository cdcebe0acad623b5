/* jpeg.c - JPEG rows through libjpeg-turbo with the settings that Pillow uses (accurate integer
 * DCT, fancy upsampling), so that bytes are equal. A source belongs to one thread; close frees it.
 *
 * Damage: what libjpeg only warns of (junk between markers, a broken restart interval) is decoded
 * as far as it goes, as Pillow does. A file that ends early is an error, also where an end marker
 * was put behind the cut (Pillow paints the rest grey there): half a photograph must not be
 * classified. */
#include "image/image_private.h"

#include <setjmp.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

typedef struct jpeg_source {
    image_source base;
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_source_mgr input;
    jmp_buf jump;
    bool made;      /* cinfo exists */
    bool started;   /* jpeg_start_decompress has been through */
    bool premature; /* the entropy data ended before the picture did */
    bool too_many_scans;
    unsigned max_scans;
    uint8_t *cmyk; /* one row, four-component pictures only */
} jpeg_source;

/* ---- libjpeg's callbacks ---- */

static void on_error(j_common_ptr cinfo)
{
    jpeg_source *s = (jpeg_source *)cinfo->client_data;
    longjmp(s->jump, 1);
}

static void on_message(j_common_ptr cinfo, int level)
{
    jpeg_source *s = (jpeg_source *)cinfo->client_data;
    if (level == -1 && cinfo->err->msg_code == JWRN_HIT_MARKER && cinfo->is_decompressor &&
        s->cinfo.unread_marker == JPEG_EOI)
        s->premature = true;
}

static void on_output(j_common_ptr cinfo)
{
    (void)cinfo;
}

/* Called between rows while a multi-scan file is read: no use in walking the frame to its end. */
static void on_progress(j_common_ptr cinfo)
{
    jpeg_source *s = (jpeg_source *)cinfo->client_data;
    s->too_many_scans = s->cinfo.input_scan_number > (int)s->max_scans;
    if (s->too_many_scans || s->premature)
        longjmp(s->jump, 1);
}

/* The whole file lies in memory. At its end libjpeg is told to wait for more ("suspend") and
 * returns; that is how a cut file is told from a whole one. */
static void input_nothing(j_decompress_ptr cinfo)
{
    (void)cinfo;
}
static boolean input_end(j_decompress_ptr cinfo)
{
    (void)cinfo;
    return FALSE;
}
static void input_skip(j_decompress_ptr cinfo, long bytes)
{
    struct jpeg_source_mgr *in = cinfo->src;
    size_t n = bytes < 0 ? 0 : (size_t)bytes;
    if (n > in->bytes_in_buffer)
        n = in->bytes_in_buffer;
    in->next_input_byte += n;
    in->bytes_in_buffer -= n;
}

/* ---- metadata: EXIF and XMP stand in APP1 segments before the first scan ---- */

static unsigned find_orientation(const uint8_t *data, size_t size)
{
    static const char xmp_name[] = "http://ns.adobe.com/xap/1.0/"; /* with its NUL */
    unsigned from_xmp = 0;
    bool exif_seen = false;
    size_t at = 2;
    while (at + 4 <= size) {
        if (data[at] != 0xff || data[at + 1] == 0xff || data[at + 1] == 0) {
            at++;
            continue;
        }
        uint8_t marker = data[at + 1];
        at += 2;
        if (marker == 0xda || marker == 0xd9)
            break;
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8))
            continue; /* without a length */
        size_t length = (size_t)data[at] << 8 | data[at + 1];
        if (length < 2 || length > size - at)
            break;
        const uint8_t *body = data + at + 2;
        size_t n = length - 2;
        at += length;
        if (marker != 0xe1)
            continue;
        if (n >= 6 && memcmp(body, "Exif\0\0", 6) == 0 && !exif_seen) {
            exif_seen = true;
            unsigned orientation = image_exif_orientation(body, n);
            if (orientation)
                return orientation;
        } else if (n >= sizeof xmp_name && memcmp(body, xmp_name, sizeof xmp_name) == 0) {
            from_xmp = image_xmp_orientation(body + sizeof xmp_name, n - sizeof xmp_name);
        }
    }
    return from_xmp ? from_xmp : 1;
}

/* ---- errors ---- */

static dermis_status jpeg_truncated(const jpeg_source *s, dermis_error *err)
{
    if (s->base.info.stored_height == 0)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the JPEG ends within its header: the file is truncated, copy it again");
    return base_fail(
        err, DERMIS_E_PICTURE_DAMAGED,
        "the JPEG ends before its picture does (in row %u of %u): the file is truncated, "
        "copy it again",
        s->cinfo.output_scanline, s->base.info.stored_height);
}

static dermis_status jpeg_failed(jpeg_source *s, dermis_error *err)
{
    if (s->too_many_scans)
        return base_fail(err, DERMIS_E_PICTURE_LIMIT,
                         "the JPEG has more than %u scans: save it again with an ordinary program",
                         s->max_scans);
    if (s->premature)
        return jpeg_truncated(s, err);
    char text[JMSG_LENGTH_MAX];
    s->errors.format_message((j_common_ptr)&s->cinfo, text);
    switch (s->errors.msg_code) {
    case JERR_OUT_OF_MEMORY:
    case JERR_NO_BACKING_STORE:
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the JPEG (%s)", text);
    case JERR_IMAGE_TOO_BIG:
        return base_fail(err, DERMIS_E_PICTURE_LIMIT,
                         "the JPEG is past the decoder's limit (%s): make it smaller", text);
    case JERR_EMPTY_IMAGE:
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the JPEG's header gives a size of zero: it is damaged, take it again");
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
        return base_fail(err, DERMIS_E_NOT_PICTURE,
                         "this kind of JPEG is not read here (%s): save it as an ordinary JPEG",
                         text);
    default:
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the JPEG is damaged (%s): copy or take it again", text);
    }
}

/* ---- rows ---- */

/* Pillow takes every CMYK JPEG as inverted (Adobe's habit), then convert('RGB'). */
static void cmyk_to_rgb(const uint8_t *cmyk, size_t pixels, uint8_t *rgb)
{
    for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3) {
        int white = cmyk[3]; /* 255 - (255 - stored) */
        for (int c = 0; c < 3; c++) {
            int product = (255 - cmyk[c]) * white + 128;
            int v = white - (((product >> 8) + product) >> 8);
            rgb[c] = (uint8_t)(v < 0 ? 0 : v);
        }
    }
}

/* One row as libjpeg gives it. Alone in its function: nothing changes between setjmp and longjmp.
 */
static dermis_status read_row(jpeg_source *s, JSAMPROW row, dermis_error *err)
{
    if (setjmp(s->jump))
        return jpeg_failed(s, err);
    if (!s->started) {
        if (!jpeg_start_decompress(&s->cinfo))
            return jpeg_truncated(s, err);
        s->started = true;
    }
    if (jpeg_read_scanlines(&s->cinfo, &row, 1) != 1 || s->premature)
        return jpeg_truncated(s, err);
    /* on to the end mark: a broken marker there is damage for Pillow too, a missing one is not */
    if (s->cinfo.output_scanline == s->cinfo.output_height)
        (void)jpeg_finish_decompress(&s->cinfo);
    return DERMIS_OK;
}

static dermis_status jpeg_row(image_source *source, uint8_t *rgb, dermis_error *err)
{
    jpeg_source *s = (jpeg_source *)source;
    dermis_status status = read_row(s, s->cmyk ? s->cmyk : rgb, err);
    if (status == DERMIS_OK && s->cmyk)
        cmyk_to_rgb(s->cmyk, s->cinfo.output_width, rgb);
    return status;
}

static void jpeg_close(image_source *source)
{
    jpeg_source *s = (jpeg_source *)source;
    if (!s)
        return;
    if (s->made && !setjmp(s->jump))
        jpeg_destroy_decompress(&s->cinfo);
    base_free(s->cmyk);
    base_free(s);
}

/* What libjpeg takes, from the header: rows of MCUs for a baseline file, all coefficients (two
 * bytes each) where several scans make up the picture. */
static size_t decoder_memory(const struct jpeg_decompress_struct *cinfo, bool whole)
{
    size_t total = 64 * 1024 + sizeof(jpeg_source); /* tables, small objects */
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *c = &cinfo->comp_info[i];
        size_t across = base_align_up(c->width_in_blocks, 1) + (size_t)c->h_samp_factor;
        size_t down = (size_t)c->height_in_blocks + (size_t)c->v_samp_factor;
        /* samples of up to three MCU rows (context rows), and the row upsampled to full width */
        total = image_sum(total, image_product(across * 8, 8 * 3, (size_t)c->v_samp_factor));
        total = image_sum(total, image_product((size_t)cinfo->image_width + 64, 4,
                                               (size_t)cinfo->max_v_samp_factor));
        if (whole)
            total = image_sum(total, image_product(across, down, DCTSIZE2 * sizeof(JCOEF)));
    }
    return image_sum(total, image_product(cinfo->image_width, 8, 1));
}

static dermis_status read_header(jpeg_source *s, const uint8_t *data, size_t size,
                                 const image_limits *limits, dermis_error *err)
{
    s->cinfo.err = jpeg_std_error(&s->errors);
    s->errors.error_exit = on_error;
    s->errors.emit_message = on_message;
    s->errors.output_message = on_output;
    s->cinfo.client_data = s;
    if (setjmp(s->jump))
        return jpeg_failed(s, err);
    jpeg_create_decompress(&s->cinfo);
    s->made = true;
    s->cinfo.client_data = s;
    s->cinfo.src = &s->input;
    s->input = (struct jpeg_source_mgr){.next_input_byte = data,
                                        .bytes_in_buffer = size,
                                        .init_source = input_nothing,
                                        .fill_input_buffer = input_end,
                                        .skip_input_data = input_skip,
                                        .resync_to_restart = jpeg_resync_to_restart,
                                        .term_source = input_nothing};
    int found;
    do /* files that begin with tables of their own */
        found = jpeg_read_header(&s->cinfo, FALSE);
    while (found == JPEG_HEADER_TABLES_ONLY);
    if (found != JPEG_HEADER_OK)
        return jpeg_truncated(s, err);

    image_info *info = &s->base.info;
    info->stored_width = s->cinfo.image_width;
    info->stored_height = s->cinfo.image_height;
    info->progressive = jpeg_has_multiple_scans(&s->cinfo);
    info->orientation = (uint8_t)find_orientation(data, size);
    dermis_status status = image_check_size(info, limits, err);
    if (status != DERMIS_OK)
        return status;
    if (s->cinfo.num_components == 1 || s->cinfo.num_components == 3)
        s->cinfo.out_color_space = JCS_RGB;
    else if (s->cinfo.num_components == 4)
        s->cinfo.out_color_space = JCS_CMYK;
    else
        return base_fail(err, DERMIS_E_NOT_PICTURE,
                         "a JPEG with %d colour components is not read here: save it as RGB",
                         s->cinfo.num_components);
    info->memory_bytes = decoder_memory(&s->cinfo, info->progressive);
    status = image_check_memory(info->progressive ? "this JPEG (progressive or of several scans)"
                                                  : "this JPEG",
                                info->memory_bytes, limits, err);
    if (status != DERMIS_OK)
        return status;
    s->cinfo.mem->max_memory_to_use = limits->max_memory ? (long)limits->max_memory : 0;
    s->max_scans = limits->max_scans;
    s->progress.progress_monitor = on_progress;
    s->cinfo.progress = &s->progress;
    return DERMIS_OK;
}

dermis_status image_jpeg_open(const uint8_t *data, size_t size, const image_limits *limits,
                              bool header_only, image_info *info, image_source **out,
                              dermis_error *err)
{
    jpeg_source *s = base_calloc(BASE_TAG_IMAGE, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the JPEG");
    s->base = (image_source){.info = *info, .row = jpeg_row, .close = jpeg_close};
    dermis_status status = read_header(s, data, size, limits, err);
    if (status == DERMIS_OK && !header_only && s->cinfo.num_components == 4) {
        s->cmyk = base_alloc(BASE_TAG_IMAGE, (size_t)s->cinfo.image_width * 4);
        if (!s->cmyk)
            status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the JPEG");
    }
    if (status == DERMIS_OK)
        *info = s->base.info;
    if (status == DERMIS_OK && !header_only)
        *out = &s->base;
    else
        jpeg_close(&s->base);
    return status;
}
