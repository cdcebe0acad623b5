/* sniff.c - tells formats apart by their first bytes. Stateless. */
#include "image/image_private.h"

#include <string.h>

static bool starts(const uint8_t *data, size_t size, const char *magic, size_t n)
{
    return size >= n && memcmp(data, magic, n) == 0;
}

/* ISO base media files (HEIC, AVIF, video) begin with a box `ftyp` that lists brands. */
static dermis_status name_ftyp(const uint8_t *data, size_t size, dermis_error *err)
{
    static const char heic[][5] = {"heic", "heix", "hevc", "hevx", "heim", "heis",
                                   "hevm", "hevs", "mif1", "msf1", "heif"};
    uint32_t box =
        (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    size_t end = box < size ? box : size;
    /* AVIF files often carry mif1 as well: look for avif among all brands first */
    for (size_t at = 8; at + 4 <= end && at < 256; at += 4)
        if (memcmp(data + at, "avif", 4) == 0 || memcmp(data + at, "avis", 4) == 0)
            return base_fail(
                err, DERMIS_E_NOT_PICTURE,
                "this is an AVIF picture, which is not read here: save it as JPEG or PNG");
    for (size_t at = 8; at + 4 <= end && at < 256; at += 4)
        for (size_t i = 0; i < sizeof heic / sizeof *heic; i++)
            if (memcmp(data + at, heic[i], 4) == 0)
                return base_fail(err, DERMIS_E_NOT_PICTURE,
                                 "this is a HEIC picture, which is not read here: save it as JPEG "
                                 "(iPhone: Settings, Camera, Formats, Most Compatible)");
    return base_fail(
        err, DERMIS_E_NOT_PICTURE,
        "this is a video or another ISO media file, not a picture: give a JPEG, PNG or "
        "WebP");
}

dermis_status image_sniff(const uint8_t *data, size_t size, image_format *out, dermis_error *err)
{
    static const struct {
        const char *magic;
        size_t n;
        const char *name;
    } others[] = {
        {"GIF8", 4, "GIF"},
        {"BM", 2, "BMP"},
        {"II*\0", 4, "TIFF or raw camera"},
        {"MM\0*", 4, "TIFF or raw camera"},
        {"II+\0", 4, "BigTIFF"},
        {"\xff\x0a", 2, "JPEG XL"},
        {"\0\0\0\x0cJXL ", 8, "JPEG XL"},
        {"\0\0\0\x0cjP  ", 8, "JPEG 2000"},
        {"\xff\x4f\xff\x51", 4, "JPEG 2000"},
        {"8BPS", 4, "Photoshop"},
        {"%PDF", 4, "PDF"},
        {"<svg", 4, "SVG"},
    };
    if (size == 0)
        return base_fail(err, DERMIS_E_NOT_PICTURE,
                         "the file is empty: give a JPEG, PNG or WebP picture");
    if (starts(data, size, "\xff\xd8\xff", 3)) {
        *out = IMAGE_JPEG;
        return DERMIS_OK;
    }
    if (starts(data, size, "\x89PNG\r\n\x1a\n", 8)) {
        *out = IMAGE_PNG;
        return DERMIS_OK;
    }
    if (size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0) {
        *out = IMAGE_WEBP;
        return DERMIS_OK;
    }
    if (size >= 12 && memcmp(data + 4, "ftyp", 4) == 0)
        return name_ftyp(data, size, err);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (starts(data, size, others[i].magic, others[i].n))
            return base_fail(
                err, DERMIS_E_NOT_PICTURE,
                "this is a %s file, which is not read here: save it as JPEG, PNG or WebP",
                others[i].name);
    return base_fail(err, DERMIS_E_NOT_PICTURE,
                     "not a picture that is known here: give a JPEG, PNG or WebP");
}
