/* test_image_hostile.c - pictures that lie, end early or want too much: an error of the right kind,
 * never a crash, nothing left allocated. Argument: the folder tests/golden/image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/image_private.h"

static const char *golden;
enum { W = 20, H = 16 };

static uint8_t *load(const char *name, size_t *size)
{
    char path[4096];
    uint8_t *data = NULL;
    dermis_error err = {0};
    snprintf(path, sizeof path, "%s/%s", golden, name);
    if (base_file_read(path, (size_t)64 << 20, BASE_TAG_BASE, &data, size, &err) != DERMIS_OK)
        fail_msg("%s: %s", path, err.text);
    return data;
}

/* From a copy of exactly `size` bytes, so that the sanitizer sees a read past the end. */
static dermis_status decode(const uint8_t *data, size_t size, const image_limits *limits,
                            dermis_error *err)
{
    static float tensor[W * H * 3];
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    base_memory before, after;
    base_memory_read(&before);
    dermis_status status = image_decode(copy, size, limits, NULL, &(image_tensor){W, H, 3, tensor}, NULL, 0, NULL, err);
    base_memory_read(&after);
    assert_int_equal(before.live_bytes[BASE_TAG_IMAGE], after.live_bytes[BASE_TAG_IMAGE]);
    free(copy);
    return status;
}

static const char *const samples[] = {
    "jpeg-420.jpg",
    "jpeg-420-progressive.jpg",
    "jpeg-restart.jpg",
    "jpeg-scans.jpg",
    "jpeg-arithmetic.jpg",
    "jpeg-ycck-adobe.jpg",
    "jpeg-orientation-6.jpg",
    "jpeg-xmp-attribute.jpg",
    "png-2-8.png",
    "png-3-4-interlaced.png",
    "png-6-16.png",
    "png-profile.png",
    "png-xmp-packed.png",
    "webp-lossy.webp",
    "webp-lossless-alpha.webp",
    "webp-animated.webp",
    "webp-lossy-alpha.webp",
    "webp-orientation-6.webp",
    "webp-part.webp",
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t size;
        uint8_t *data = load(samples[i], &size);
        size_t step = size / 150 + 1;
        for (size_t n = 0; n < size; n += n < 64 ? 1 : step) {
            dermis_error err = {0};
            dermis_status status = decode(data, n, NULL, &err);
            if (n >= size * 4 / 5) /* the last bytes may be metadata or an end mark */
                continue;
            if (status != DERMIS_E_PICTURE_DAMAGED && !(n < 12 && status == DERMIS_E_NOT_PICTURE))
                fail_msg("%s cut to %zu of %zu: %s", samples[i], n, size, base_status_name(status));
            assert_true(strlen(err.text) > 10);
        }
        base_free(data);
    }
}

static void test_flips(void **state)
{
    (void)state;
    uint32_t seed = (uint32_t)(base_now_ms() * 1000);
    print_message("seed %u\n", seed);
    int decoded = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t size;
        uint8_t *data = load(samples[i], &size);
        for (int round = 0; round < 120; round++) {
            uint8_t *copy = malloc(size);
            assert_non_null(copy);
            memcpy(copy, data, size);
            for (int k = 0; k <= round % 4; k++) {
                seed = seed * 1664525u + 1013904223u;
                /* half of the flips in the first 200 bytes: headers */
                size_t range = round & 1 && size > 200 ? 200 : size;
                copy[(seed >> 8) % range] ^= (uint8_t)(1u << (seed >> 29));
            }
            decoded += decode(copy, size, NULL, NULL) == DERMIS_OK;
            free(copy);
        }
        base_free(data);
    }
    print_message("%d of %d still decoded\n", decoded, SAMPLES * 120);
}

static void expect(const void *data, size_t size, const image_limits *limits, dermis_status want,
                   const char *word)
{
    dermis_error err = {0};
    dermis_status status = decode(data, size, limits, &err);
    if (status != want || !strstr(err.text, word))
        fail_msg("wanted %s with \"%s\", got %s: %s", base_status_name(want), word,
                 base_status_name(status), err.text);
    image_info info;
    if (status != DERMIS_E_PICTURE_DAMAGED) /* known without decoding */
        assert_int_equal(status, image_probe(data, size, limits, &info, NULL));
}

static void test_not_pictures(void **state)
{
    (void)state;
    expect("", 0, NULL, DERMIS_E_NOT_PICTURE, "empty");
    expect("hello, world", 12, NULL, DERMIS_E_NOT_PICTURE, "not a picture");
    expect("\0\0\0\x18"
           "ftypheic\0\0\0\0mif1heic",
           24, NULL, DERMIS_E_NOT_PICTURE, "HEIC");
    expect("\0\0\0\x18"
           "ftypmif1\0\0\0\0mif1heic",
           24, NULL, DERMIS_E_NOT_PICTURE, "HEIC");
    expect("\0\0\0\x1c"
           "ftypavif\0\0\0\0avifmif1miaf",
           28, NULL, DERMIS_E_NOT_PICTURE, "AVIF");
    expect("\0\0\0\x1c"
           "ftypmif1\0\0\0\0avifmif1miaf",
           28, NULL, DERMIS_E_NOT_PICTURE, "AVIF");
    expect("\0\0\0\x18"
           "ftypisom\0\0\0\0isommp41",
           24, NULL, DERMIS_E_NOT_PICTURE, "video");
    expect("GIF89a......", 12, NULL, DERMIS_E_NOT_PICTURE, "GIF");
    expect("BM..........", 12, NULL, DERMIS_E_NOT_PICTURE, "BMP");
    expect("II*\0........", 12, NULL, DERMIS_E_NOT_PICTURE, "TIFF");
    expect("MM\0*........", 12, NULL, DERMIS_E_NOT_PICTURE, "TIFF");
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Bombs: refused from the header, before memory is taken. */
static void test_bombs(void **state)
{
    (void)state;
    size_t size;
    uint8_t *png = load("png-2-8.png", &size);
    put_u32(png + 16, 60000);
    put_u32(png + 20, 60000);
    uint64_t allocated = base_rss_peak_bytes();
    expect(png, size, NULL, DERMIS_E_PICTURE_LIMIT, "pixels");
    put_u32(png + 16, 0x7fffffff);
    expect(png, size, NULL, DERMIS_E_PICTURE_LIMIT, "side");
    put_u32(png + 16, 0);
    expect(png, size, NULL, DERMIS_E_PICTURE_DAMAGED, "0x60000");
    put_u32(png + 16, 8000);
    put_u32(png + 20, 8000);
    png[28] = 1; /* interlaced: 192 MB */
    image_limits limits;
    image_limits_default(&limits);
    limits.max_memory = (size_t)100 << 20;
    expect(png, size, &limits, DERMIS_E_BUDGET, "interlaced");
    base_free(png);

    uint8_t *jpeg = load("jpeg-420-progressive.jpg", &size);
    for (size_t i = 0; i + 9 < size; i++)
        if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc2) {
            jpeg[i + 5] = jpeg[i + 7] = 0x1f; /* 7936 + ... high and wide */
            break;
        }
    expect(jpeg, size, &limits, DERMIS_E_BUDGET, "progressive");
    limits.max_pixels = 1000000;
    expect(jpeg, size, &limits, DERMIS_E_PICTURE_LIMIT, "million");
    base_free(jpeg);
    assert_true(base_rss_peak_bytes() - allocated < (50u << 20));

    jpeg = load("jpeg-444.jpg", &size);
    image_limits_default(&limits);
    limits.max_bytes = size - 1;
    expect(jpeg, size, &limits, DERMIS_E_PICTURE_LIMIT, "file");
    image_limits_default(&limits);
    limits.max_side = 60;
    expect(jpeg, size, &limits, DERMIS_E_PICTURE_LIMIT, "60");
    base_free(jpeg);

    uint8_t *webp = load("webp-animated.webp", &size);
    memcpy(webp + 24, "\xff\xff\0\xff\x0f\0", 6); /* the canvas of VP8X: 65536x4096 */
    expect(webp, size, NULL, DERMIS_E_PICTURE_LIMIT, "side");
    base_free(webp);
}

/* The first scan of a progressive file over and over: small in bytes, long in time. (The first: it
 * sets coefficients, so a repeat changes nothing; later ones refine.) */
static void test_scans(void **state)
{
    (void)state;
    size_t size, begin = 0;
    uint8_t *data = load("jpeg-grey-progressive.jpg", &size);
    while (begin + 2 < size && !(data[begin] == 0xff && data[begin + 1] == 0xda))
        begin++;
    size_t end = begin + 2;
    while (end + 2 < size && !(data[end] == 0xff && data[end + 1] != 0))
        end++;
    size_t scan = end - begin, total = size + 300 * scan;
    uint8_t *many = malloc(total);
    assert_non_null(many);
    memcpy(many, data, begin);
    for (size_t i = 0; i < 300; i++)
        memcpy(many + begin + i * scan, data + begin, scan);
    memcpy(many + begin + 300 * scan, data + begin, size - begin);
    dermis_error err = {0};
    assert_int_equal(DERMIS_E_PICTURE_LIMIT, decode(many, total, NULL, &err));
    assert_non_null(strstr(err.text, "scans"));
    image_limits limits;
    image_limits_default(&limits);
    limits.max_scans = 400;
    if (decode(many, total, &limits, &err) != DERMIS_OK)
        fail_msg("%s", err.text);
    free(many);
    base_free(data);
}

/* An end mark behind the cut: Pillow paints grey, here it is an error. */
static void test_early_end(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load("jpeg-420.jpg", &size);
    memcpy(data + size * 2 / 3, "\xff\xd9", 2);
    expect(data, size * 2 / 3 + 2, NULL, DERMIS_E_PICTURE_DAMAGED, "truncated");
    base_free(data);
}

/* Every allocation of the layer fails once: an error, no leak. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t size;
        uint8_t *data = load(samples[i], &size);
        int n = 1;
        for (; n < 200; n++) {
            base_memory_fail_at((uint64_t)n);
            dermis_status status = decode(data, size, NULL, NULL);
            base_memory_fail_at(0);
            if (status == DERMIS_OK && n > 12)
                break;
            /* metadata that cannot be read for lack of memory is passed over: OK is allowed */
        }
        assert_true(n < 200);
        base_free(data);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),     cmocka_unit_test(test_flips),
        cmocka_unit_test(test_not_pictures),  cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_scans),         cmocka_unit_test(test_early_end),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
