/* image.h - a picture's bytes to a tensor, and a map over a picture to bytes. Knows nothing of
 * models. Every function may be called from any thread; nothing here keeps state between calls.
 *
 * All pixels equal those of Pillow (version in tests/golden/requirements-image.txt):
 * ImageOps.exif_transpose, convert('RGB') or convert('L'), resize((w, h), LANCZOS). */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "base/base.h"

/* ---- limits: the one place where they stand, each with its reason ---- */

/* Ordinary phones write 50 million pixels; a baseline JPEG streams, so pixels cost time (about 4 ms
 * a million), not memory. 64 million is a bound of a quarter of a second. */
#define IMAGE_MAX_PIXELS_DEFAULT (64u * 1000u * 1000u)
/* The largest side that JPEG can name; PNG's four billion are of no use to a photograph. */
#define IMAGE_MAX_SIDE_DEFAULT 65535u
/* A 16-bit RGB PNG of 12 million pixels that does not compress is 72 MB; photographs are 2 to 20.
 */
#define IMAGE_MAX_BYTES_DEFAULT ((size_t)96 * 1024 * 1024)
/* A progressive JPEG has about 10 scans; each one more walks the whole frame again, so a small file
 * with thousands of them takes minutes. */
#define IMAGE_MAX_SCANS_DEFAULT 200u
/* What cannot stream needs up to 8 bytes a pixel (WebP): 64 million of them fit. */
#define IMAGE_MAX_MEMORY_DEFAULT ((size_t)512 * 1024 * 1024)

typedef struct image_limits {
    uint64_t max_pixels;
    uint32_t max_side;
    size_t max_bytes;   /* of the file */
    unsigned max_scans; /* of a JPEG */
    size_t max_memory;  /* bytes that one call may take; 0 = no limit */
} image_limits;

void image_limits_default(image_limits *limits);

/* ---- what the header says ---- */

typedef enum image_format { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP } image_format;

typedef struct image_info {
    image_format format;
    uint32_t width, height;               /* after orientation */
    uint32_t stored_width, stored_height; /* as in the file */
    uint8_t orientation;                  /* EXIF or XMP, 1..8; 1 where none is given */
    bool progressive;                     /* needs the whole frame: progressive or multi-scan JPEG,
                                             interlaced PNG, every WebP */
    bool has_alpha;
    size_t memory_bytes; /* what the decoder will take for this picture (the resize or the overlay
                            come on top: image_decode_memory, image_overlay_memory) */
} image_info;

const char *image_format_name(image_format format); /* "JPEG", "PNG", "WebP" */

/* Reads headers only; takes no memory that grows with the picture. Errors: DERMIS_E_NOT_PICTURE,
 * DERMIS_E_PICTURE_DAMAGED, DERMIS_E_PICTURE_LIMIT (pixels, sides, bytes), DERMIS_E_BUDGET
 * (memory). */
dermis_status image_probe(const uint8_t *data, size_t size, const image_limits *limits,
                          image_info *out, dermis_error *err);

/* A part of the picture: pixels after orientation; width or height 0: the whole. */
typedef struct image_crop {
    uint32_t x, y, width, height;
} image_crop;
/* DERMIS_E_USAGE when a part does not lie within the picture. `crop` may be NULL: the whole. */
dermis_status image_check_crop(const image_info *info, const image_crop *crop, dermis_error *err);

/* ---- one decoding: a tensor, the picture anew, or both ---- */

/* [height][width][channels], float32, whole numbers 0..255; channels 3 (RGB) or 1 (luma). */
typedef struct image_tensor {
    uint32_t width, height, channels;
    float *out;
} image_tensor;

/* The picture as baseline JPEG, upright, chroma halved, with its longer side reduced to max_side (0: as it
 * is; never enlarged) by the resize of the tensor. Nothing of the original but its pixels is carried
 * over. */
typedef struct image_copy {
    uint32_t max_side;
    int quality;            /* 1..100 */
    FILE *out;              /* on failure what stands there is to be thrown away */
    uint32_t width, height; /* filled: what was written */
} image_copy;

/* Decodes the picture (or a part of it: `crop`, NULL: the whole) once, row by row, for the tensor (NULL:
 * none) and `count` copies, each made from the pixels of the one before it. `limits` and `info` may be
 * NULL. On failure outputs hold nothing of meaning. Bytes after the picture's end are no error; a picture
 * that ends early is DERMIS_E_PICTURE_DAMAGED. */
dermis_status image_decode(const uint8_t *data, size_t size, const image_limits *limits, const image_crop *crop,
                           const image_tensor *tensor, image_copy *copies, unsigned count, image_info *info,
                           dermis_error *err);
/* All that it takes, decoder included; `crop` as checked. */
size_t image_decode_memory(const image_info *info, const image_crop *crop, const image_tensor *tensor,
                           const image_copy *copies, unsigned count);

/* ---- a map over a picture ---- */

typedef enum image_colormap { IMAGE_JET, IMAGE_TURBO, IMAGE_VIRIDIS, IMAGE_INFERNO } image_colormap;
/* "jet", "turbo", "viridis", "inferno"; anything else DERMIS_E_USAGE. */
dermis_status image_colormap_parse(const char *name, image_colormap *out);
/* 256 x RGB, as matplotlib's cmap(i, bytes=True). */
const uint8_t (*image_colormap_table(image_colormap colormap))[3];

typedef enum image_encoding { IMAGE_ENCODE_PNG, IMAGE_ENCODE_JPEG } image_encoding;

/* Decodes the photograph and writes alpha * heat + (1 - alpha) * photograph at the photograph's own
 * size after orientation; the map (map[map_h][map_w], 0..1, NaN counts as 0) is enlarged half-pixel
 * bilinear. Rows are written as they come; on failure what stands in `out` is to be thrown away
 * (base_out_abort). JPEG: quality 90, 4:4:4. No metadata of the photograph is carried over. */
dermis_status image_overlay(const uint8_t *data, size_t size, const image_limits *limits,
                            const float *map, uint32_t map_h, uint32_t map_w,
                            image_colormap colormap, float alpha, image_encoding encoding,
                            FILE *out, dermis_error *err);
size_t image_overlay_memory(const image_info *info); /* all that it takes, decoder included */

/* The colour map of a map alone, enlarged as image_overlay does, as PNG with a palette. */
dermis_status image_heat(const float *map, uint32_t map_h, uint32_t map_w, image_colormap colormap,
                         uint32_t width, uint32_t height, FILE *out, dermis_error *err);

#endif
