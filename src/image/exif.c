/* exif.c - the orientation in EXIF (a TIFF directory) and XMP blocks, read as Pillow reads it.
 * Stateless; every access is bounds-checked, since the bytes come from outside. */
#include "image/image_private.h"

#include <string.h>

enum { TAG_ORIENTATION = 0x0112 };

typedef struct tiff {
    const uint8_t *data;
    size_t size;
    bool big_endian;
} tiff;

static bool tiff_u16(const tiff *t, size_t at, uint16_t *out)
{
    if (at > t->size || t->size - at < 2)
        return false;
    const uint8_t *p = t->data + at;
    *out = t->big_endian ? (uint16_t)(p[0] << 8 | p[1]) : (uint16_t)(p[1] << 8 | p[0]);
    return true;
}

static bool tiff_u32(const tiff *t, size_t at, uint32_t *out)
{
    uint16_t a, b;
    if (!tiff_u16(t, at, &a) || !tiff_u16(t, at + 2, &b))
        return false;
    *out = t->big_endian ? (uint32_t)a << 16 | b : (uint32_t)b << 16 | a;
    return true;
}

/* The value as a whole number, or 0 for types and values that Pillow does not take as one. */
static unsigned tiff_value(const tiff *t, unsigned type, size_t at)
{
    uint16_t s;
    uint32_t a, b;
    switch (type) {
    case 6: /* SBYTE */
        return at < t->size ? t->data[at] : 0;
    case 3: /* SHORT */
    case 8: /* SSHORT */
        return tiff_u16(t, at, &s) ? s : 0;
    case 4:  /* LONG */
    case 9:  /* SLONG */
    case 13: /* IFD */
        return tiff_u32(t, at, &a) ? a : 0;
    case 5:  /* RATIONAL */
    case 10: /* SRATIONAL */
        return tiff_u32(t, at, &a) && tiff_u32(t, at + 4, &b) && b != 0 && a % b == 0 ? a / b : 0;
    case 11: { /* FLOAT */
        float f;
        if (!tiff_u32(t, at, &a))
            return 0;
        memcpy(&f, &a, sizeof f);
        return f >= 1 && f <= 8 && f == (float)(int)f ? (unsigned)f : 0;
    }
    default: /* BYTE, ASCII and UNDEFINED are bytes for Pillow and match no orientation */
        return 0;
    }
}

unsigned image_exif_orientation(const uint8_t *data, size_t size)
{
    static const uint8_t unit[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    while (size >= 6 && memcmp(data, "Exif\0\0", 6) == 0) {
        data += 6;
        size -= 6;
    }
    if (size < 8 || !((data[0] == 'I' && data[1] == 'I') || (data[0] == 'M' && data[1] == 'M')) ||
        !((data[2] == 0 && data[3] == 42) || (data[2] == 42 && data[3] == 0)))
        return 0;
    tiff t = {data, size, data[0] == 'M'};
    uint32_t directory;
    uint16_t entries;
    if (!tiff_u32(&t, 4, &directory) || !tiff_u16(&t, directory, &entries))
        return 0;
    unsigned found = 0;
    for (size_t i = 0; i < entries; i++) {
        size_t at = (size_t)directory + 2 + i * 12;
        uint16_t tag, type;
        uint32_t count, offset;
        if (!tiff_u16(&t, at, &tag) || !tiff_u16(&t, at + 2, &type) ||
            !tiff_u32(&t, at + 4, &count) || !tiff_u32(&t, at + 8, &offset))
            break; /* cut short: what was read so far counts */
        if (tag != TAG_ORIENTATION || type == 0 || type >= sizeof unit || count == 0)
            continue;
        uint64_t bytes = (uint64_t)unit[type] * count;
        size_t value_at = bytes > 4 ? offset : at + 8;
        if (bytes > size || value_at > size - bytes)
            continue;
        unsigned value = tiff_value(&t, type, value_at);
        found = value >= 1 && value <= 8 ? value : 1; /* a tag without meaning still hides XMP's */
    }
    return found;
}

unsigned image_xmp_orientation(const uint8_t *data, size_t size)
{
    static const char name[] = "tiff:Orientation";
    const size_t n = sizeof name - 1;
    const uint8_t *end = data + size;
    for (const uint8_t *p = data; p && (size_t)(end - p) >= n;) {
        p = memmem(p, (size_t)(end - p), name, n);
        if (!p)
            break;
        p += n;
        const uint8_t *q = p;
        if (end - q >= 2 && q[0] == '=' && q[1] == '"')
            q += 2;
        else if (end - q >= 1 && q[0] == '>')
            q += 1;
        else
            continue;
        if (q < end && *q >= '0' && *q <= '9')
            return *q >= '1' && *q <= '8' ? (unsigned)(*q - '0') : 1;
    }
    return 0;
}
