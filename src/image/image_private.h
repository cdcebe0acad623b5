/* image_private.h - what the files of src/image share; included by nothing outside this folder. */
#ifndef IMAGE_IMAGE_PRIVATE_H
#define IMAGE_IMAGE_PRIVATE_H

#include "image/image.h"

/* ---- row sources: one decoder each for JPEG, PNG, WebP ---- */

typedef struct image_source image_source;
struct image_source {
    image_info info; /* complete after open */
    /* The next stored row as RGB, 3 * stored_width bytes. Called at most stored_height times. */
    dermis_status (*row)(image_source *source, uint8_t *rgb, dermis_error *err);
    void (*close)(image_source *source); /* frees the source itself */
};

/* Open: headers are read and checked against the limits before memory that grows with the picture
 * is taken; with `header_only` the source is closed again at once and *out stays as it is. */
dermis_status image_jpeg_open(const uint8_t *data, size_t size, const image_limits *limits,
                              bool header_only, image_info *info, image_source **out,
                              dermis_error *err);
dermis_status image_png_open(const uint8_t *data, size_t size, const image_limits *limits,
                             bool header_only, image_info *info, image_source **out,
                             dermis_error *err);
dermis_status image_webp_open(const uint8_t *data, size_t size, const image_limits *limits,
                              bool header_only, image_info *info, image_source **out,
                              dermis_error *err);

/* sniff.c: which decoder, or an error that names what the bytes are. */
dermis_status image_sniff(const uint8_t *data, size_t size, image_format *out, dermis_error *err);
/* bounds.c: checks stored_width and stored_height, fills width and height from the orientation. */
dermis_status image_check_size(image_info *info, const image_limits *limits, dermis_error *err);
dermis_status image_check_memory(const char *what, size_t bytes, const image_limits *limits,
                                 dermis_error *err);
/* image.c: sniff and open (not header_only). Close with source->close. */
dermis_status image_source_open(const uint8_t *data, size_t size, const image_limits *limits,
                                image_source **out, dermis_error *err);

/* a * b * c that stays at SIZE_MAX on overflow; for estimates that are then compared with a limit
 */
size_t image_product(size_t a, size_t b, size_t c);
size_t image_sum(size_t a, size_t b);

/* ---- orientation (exif.c) ---- */

/* Orientation in an EXIF block (TIFF, with or without "Exif\0\0" before it): 1..8 (1 for values
 * that mean nothing), or 0 when it has no such tag. */
unsigned image_exif_orientation(const uint8_t *data, size_t size);
/* The digit after tiff:Orientation=" or tiff:Orientation> in XMP; 1..8, 1 for other digits, 0 none.
 */
unsigned image_xmp_orientation(const uint8_t *data, size_t size);
static inline bool image_swaps_axes(unsigned orientation)
{
    return orientation >= 5;
}
/* The oriented picture's column x is the stored column (or row, where axes swap) w - 1 - x. */
static inline bool image_flips_x(unsigned orientation)
{
    return orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
}
static inline bool image_flips_y(unsigned orientation)
{
    return orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
}

/* ---- resize (resample.c) ---- */

#define IMAGE_PRECISION_BITS (32 - 8 - 2) /* fraction bits of a coefficient, as in Pillow */
#define IMAGE_PAD            32           /* bytes that may be read past a plane's end */

/* One axis of Pillow's Lanczos: for output i the inputs first[i] .. first[i] + count[i] - 1 with
 * coefficients. `stride` is a multiple of 16 and unused coefficients are 0, so kernels may run past
 * count. The 23-bit coefficient k is low + high * 2^15, both 16-bit, for the SIMD kernels. */
typedef struct image_axis {
    uint32_t in, out, stride, longest; /* longest: the largest count */
    bool copy;                         /* sizes equal: Pillow skips the pass */
    uint32_t *first, *count;
    int16_t *low, *high;
} image_axis;

/* flip: the input runs backwards; outputs are then in reversed order too, so output i of the axis
 * is output out - 1 - i of the picture, and windows open and close in ascending order. */
dermis_status image_axis_init(image_axis *axis, uint32_t in, uint32_t out, bool flip,
                              dermis_error *err);
void image_axis_release(image_axis *axis);
size_t image_axis_memory(uint32_t in, uint32_t out);

/* out[i] for all outputs of the axis along one contiguous plane (IMAGE_PAD bytes readable past it)
 */
typedef void image_along(const image_axis *axis, const uint8_t *in, uint8_t *out);
/* One output of the axis across its `count` rows; `width` is a multiple of 32 */
typedef void image_across(const image_axis *axis, uint32_t output, const uint8_t *const *rows,
                          size_t width, uint8_t *out);
/* RGB pixels to three planes that lie `stride` bytes apart; may write up to IMAGE_PAD bytes past
 * the end of each plane's pixels, never reads past the pixels */
typedef void image_split(const uint8_t *rgb, size_t pixels, uint8_t *planes, size_t stride);

typedef struct image_resampler {
    image_along *along;
    image_across *across;
    image_split *split;
    const char *name;
} image_resampler;
const image_resampler *image_resampler_scalar(void);
const image_resampler *image_resampler_avx2(void); /* NULL where not built or the CPU lacks it */
const image_resampler *image_resampler_best(void);

static inline uint8_t image_clip8(int32_t sum)
{
    int32_t v = sum >> IMAGE_PRECISION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* ---- one resize (resize.c) ---- */

/* Where the resized picture goes: floats, bytes, or rows as they come from the top (`frame` is then one
 * row; only where image_in_order). */
typedef struct image_sink {
    float *tensor;
    uint8_t *frame;
    dermis_status (*row)(void *context, uint8_t *row, dermis_error *err); /* or NULL */
    void *context;
} image_sink;

/* Whether a picture of this orientation comes out row by row from the top. */
static inline bool image_in_order(const image_info *info)
{
    return !image_swaps_axes(info->orientation) && !image_flips_y(info->orientation);
}

typedef struct image_resize image_resize;
/* Of a picture with `part`'s sizes and orientation into [height][width][channels]; the sink is copied. */
dermis_status image_resize_new(const image_info *part, uint32_t width, uint32_t height, uint32_t channels,
                               const image_sink *sink, image_resize **out, dermis_error *err);
/* The next stored row; stored_height of them complete the result. */
dermis_status image_resize_push(image_resize *resize, const uint8_t *rgb, dermis_error *err);
void image_resize_free(image_resize *resize);
size_t image_resize_memory(const image_info *part, uint32_t width, uint32_t height, uint32_t channels);

/* ---- copies (photo.c) ---- */

typedef struct image_copies image_copies;
dermis_status image_copies_new(const image_info *part, const image_copy *copies, unsigned count, image_copies **out,
                               dermis_error *err);
dermis_status image_copies_push(image_copies *copies, const uint8_t *rgb, dermis_error *err);
/* After the last row: what is left is written, and the sizes go into `sizes`. */
dermis_status image_copies_end(image_copies *copies, image_copy *sizes, dermis_error *err);
void image_copies_free(image_copies *copies);
size_t image_copies_memory(const image_info *part, const image_copy *copies, unsigned count);

/* ---- pictures written row by row (writer.c) ---- */

typedef struct image_writer_options {
    image_encoding encoding;
    int quality;                  /* of a JPEG */
    bool halved;                  /* its chroma */
    const uint8_t (*palette)[3];  /* of a PNG: rows are then indices; or NULL: RGB */
} image_writer_options;

typedef struct image_writer image_writer;
dermis_status image_writer_open(const image_writer_options *options, uint32_t width, uint32_t height,
                                FILE *out, image_writer **writer, dermis_error *err);
dermis_status image_writer_row(image_writer *writer, uint8_t *row, dermis_error *err);
dermis_status image_writer_end(image_writer *writer, dermis_error *err);
void image_writer_free(image_writer *writer);

#endif
