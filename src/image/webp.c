/* webp.c - the first frame of a WebP through libwebp. libwebp gives no rows without a frame to put
 * them in, so every WebP costs a frame of RGB, a lossless one also its own 4 bytes a pixel, one
 * with alpha up to 5; all known from the header. A source belongs to one thread; close frees it. */
#include "image/image_private.h"

#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

typedef struct webp_source {
    image_source base;
    WebPDemuxer *demuxer; /* points into the caller's bytes */
    WebPIterator frame;
    bool has_frame;
    uint8_t *pixels; /* the frame as RGB; NULL until the first row is asked for */
    uint32_t next;
} webp_source;

static unsigned find_orientation(const WebPDemuxer *demuxer)
{
    WebPChunkIterator chunk;
    unsigned orientation = 0;
    memset(&chunk, 0, sizeof chunk);
    if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
        orientation = image_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    memset(&chunk, 0, sizeof chunk);
    if (!orientation && WebPDemuxGetChunk(demuxer, "XMP ", 1, &chunk))
        orientation = image_xmp_orientation(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    return orientation ? orientation : 1;
}

static dermis_status decode(webp_source *s, dermis_error *err)
{
    size_t bytes = image_product((size_t)s->frame.width, (size_t)s->frame.height, 3);
    s->pixels = base_alloc(BASE_TAG_IMAGE, bytes);
    WebPDecoderConfig config;
    if (!s->pixels || !WebPInitDecoderConfig(&config))
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the WebP");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = s->pixels;
    config.output.u.RGBA.stride = s->frame.width * 3;
    config.output.u.RGBA.size = bytes;
    VP8StatusCode code = WebPDecode(s->frame.fragment.bytes, s->frame.fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the WebP");
    if (code != VP8_STATUS_OK)
        return base_fail(
            err, DERMIS_E_PICTURE_DAMAGED,
            "the WebP is truncated or damaged (decoder status %d): copy or save it again",
            (int)code);
    return DERMIS_OK;
}

static dermis_status webp_row(image_source *source, uint8_t *rgb, dermis_error *err)
{
    webp_source *s = (webp_source *)source;
    if (!s->pixels) {
        dermis_status status = decode(s, err);
        if (status != DERMIS_OK)
            return status;
    }
    /* an animation's first frame may be smaller than the canvas; the rest is black */
    uint32_t y = s->next++, top = (uint32_t)s->frame.y_offset;
    size_t row = (size_t)s->frame.width * 3;
    if (row < (size_t)s->base.info.stored_width * 3)
        memset(rgb, 0, (size_t)s->base.info.stored_width * 3);
    if (y >= top && y - top < (uint32_t)s->frame.height)
        memcpy(rgb + (size_t)s->frame.x_offset * 3, s->pixels + (y - top) * row, row);
    else
        memset(rgb, 0, (size_t)s->base.info.stored_width * 3);
    return DERMIS_OK;
}

static void webp_close(image_source *source)
{
    webp_source *s = (webp_source *)source;
    if (!s)
        return;
    if (s->has_frame)
        WebPDemuxReleaseIterator(&s->frame);
    WebPDemuxDelete(s->demuxer);
    base_free(s->pixels);
    base_free(s);
}

static dermis_status read_header(webp_source *s, const uint8_t *data, size_t size,
                                 const image_limits *limits, dermis_error *err)
{
    WebPData bytes = {data, size};
    WebPDemuxState state;
    s->demuxer = WebPDemuxPartial(&bytes, &state);
    if (s->demuxer && state == WEBP_DEMUX_DONE)
        s->has_frame = WebPDemuxGetFrame(s->demuxer, 1, &s->frame) != 0;
    image_info *info = &s->base.info;
    if (s->demuxer && state > WEBP_DEMUX_PARSING_HEADER) { /* sizes first: a bomb is named as one */
        info->stored_width = WebPDemuxGetI(s->demuxer, WEBP_FF_CANVAS_WIDTH);
        info->stored_height = WebPDemuxGetI(s->demuxer, WEBP_FF_CANVAS_HEIGHT);
        if (info->stored_width > 0 && info->stored_height > 0) {
            dermis_status status = image_check_size(info, limits, err);
            if (status != DERMIS_OK)
                return status;
        }
    }
    if (!s->has_frame)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the WebP is truncated or damaged: copy or save it again");
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(s->frame.fragment.bytes, s->frame.fragment.size, &features) !=
            VP8_STATUS_OK ||
        features.width != s->frame.width || features.height != s->frame.height ||
        s->frame.x_offset < 0 || s->frame.y_offset < 0 ||
        (uint64_t)s->frame.x_offset + (uint64_t)s->frame.width > info->stored_width ||
        (uint64_t)s->frame.y_offset + (uint64_t)s->frame.height > info->stored_height)
        return base_fail(err, DERMIS_E_PICTURE_DAMAGED,
                         "the WebP's headers contradict each other: it is damaged, save it again");
    info->orientation = (uint8_t)find_orientation(s->demuxer);
    info->has_alpha = features.has_alpha != 0;
    info->progressive = true;
    dermis_status status = image_check_size(info, limits, err);
    if (status != DERMIS_OK)
        return status;
    /* RGB; lossless: ARGB, 16 rows of cache, Huffman tables (ordinary encoders' share; a hostile
     * file can ask for more of them than its header tells); lossy: some rows of macroblocks, and
     * alpha is decoded, though dropped, as a plane from a lossless picture of up to 4 bytes a pixel
     */
    size_t w = (size_t)features.width, h = (size_t)features.height;
    size_t total = image_sum(image_product(w, h, 3), 256 * 1024 + sizeof *s);
    if (features.format == 2)
        total =
            image_sum(total, image_sum(image_product(w, h, 4),
                                       image_sum(image_product(w, 17 * 4, 1), 4 * 1024 * 1024)));
    else
        total = image_sum(total, image_sum(image_product(w, 128, 1),
                                           features.has_alpha ? image_product(w, h, 5) : 0));
    info->memory_bytes = total;
    return image_check_memory("this WebP", total, limits, err);
}

dermis_status image_webp_open(const uint8_t *data, size_t size, const image_limits *limits,
                              bool header_only, image_info *info, image_source **out,
                              dermis_error *err)
{
    webp_source *s = base_calloc(BASE_TAG_IMAGE, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to decode the WebP");
    s->base = (image_source){.info = *info, .row = webp_row, .close = webp_close};
    dermis_status status = read_header(s, data, size, limits, err);
    if (status == DERMIS_OK)
        *info = s->base.info;
    if (status == DERMIS_OK && !header_only)
        *out = &s->base;
    else
        webp_close(&s->base);
    return status;
}
