/* test_image.c - tensors equal to Pillow's byte for byte (tests/golden/make_images.py made both),
 * SIMD equal to scalar, overlays, colormaps. Argument: the folder tests/golden/image. */
#include <math.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/image_private.h"

static const char *golden;

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

static uint64_t fnv1a(const float *v, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)v[i]) * 0x100000001b3u;
    return hash;
}

static void test_golden(void **state)
{
    (void)state;
    size_t bin_size, list_size, data_size = 0;
    uint8_t *bin = load("expected.bin", &bin_size);
    uint8_t *list = load("expected.txt", &list_size);
    char *text = base_calloc(BASE_TAG_BASE, list_size + 1, 1), name[128], last[128] = "";
    memcpy(text, list, list_size);
    uint8_t *data = NULL;
    int count = 0, bad = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), count++) {
        uint32_t w, h, channels;
        unsigned long long hash;
        long offset;
        assert_int_equal(
            6, sscanf(line, "%127s %u %u %u %llx %ld", name, &w, &h, &channels, &hash, &offset));
        if (strcmp(name, last) != 0) {
            base_free(data);
            data = load(name, &data_size);
            strcpy(last, name);
        }
        size_t n = (size_t)w * h * channels;
        float *tensor = base_calloc(BASE_TAG_BASE, n, sizeof *tensor);
        dermis_error err = {0};
        dermis_status status =
            image_decode(data, data_size, NULL, NULL, &(image_tensor){w, h, channels, tensor}, NULL, 0, NULL, &err);
        if (status != DERMIS_OK) {
            print_error("%s: %s\n", line, err.text);
            bad++;
        } else if (fnv1a(tensor, n) != hash) {
            size_t at = 0;
            while (offset >= 0 && at < n && tensor[at] == bin[(size_t)offset + at])
                at++;
            print_error("%s: differs%s, at value %zu\n", line, offset < 0 ? " (hash only)" : "",
                        at);
            bad++;
        }
        base_free(tensor);
    }
    base_free(data);
    base_free(text);
    base_free(list);
    base_free(bin);
    assert_true(count > 600);
    assert_int_equal(0, bad);
}

static void test_probe(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        image_info want;
    } cases[] = {
        {"jpeg-420.jpg", {IMAGE_JPEG, 61, 43, 61, 43, 1, false, false, 0}},
        {"jpeg-scans.jpg", {IMAGE_JPEG, 50, 41, 50, 41, 1, true, false, 0}},
        {"jpeg-420-progressive.jpg", {IMAGE_JPEG, 45, 37, 45, 37, 1, true, false, 0}},
        {"jpeg-orientation-6.jpg", {IMAGE_JPEG, 71, 47, 47, 71, 6, false, false, 0}},
        {"png-6-8.png", {IMAGE_PNG, 37, 29, 37, 29, 1, false, true, 0}},
        {"png-exif.png", {IMAGE_PNG, 29, 37, 37, 29, 5, false, false, 0}},
        {"png-2-8-interlaced.png", {IMAGE_PNG, 37, 29, 37, 29, 1, true, false, 0}},
        {"webp-orientation-8.webp", {IMAGE_WEBP, 43, 59, 59, 43, 8, true, false, 0}},
        {"webp-lossy-alpha.webp", {IMAGE_WEBP, 59, 43, 59, 43, 1, true, true, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        uint8_t *data = load(cases[i].name, &size);
        image_info got = {0};
        assert_int_equal(DERMIS_OK, image_probe(data, size, NULL, &got, NULL));
        const image_info *want = &cases[i].want;
        assert_int_equal(want->format, got.format);
        assert_int_equal(want->width, got.width);
        assert_int_equal(want->height, got.height);
        assert_int_equal(want->stored_width, got.stored_width);
        assert_int_equal(want->stored_height, got.stored_height);
        assert_int_equal(want->orientation, got.orientation);
        assert_int_equal(want->progressive, got.progressive);
        assert_int_equal(want->has_alpha, got.has_alpha);
        assert_true(got.memory_bytes > 0);
        base_free(data);
    }
}

/* ---- SIMD against scalar: random sizes, extreme pixels, both directions, guard bytes ---- */

static uint32_t random_state;
static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void fill(uint8_t *p, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++)
        p[i] = kind == 0 ? 255 : kind == 1 ? (i & 1 ? 255 : 0) : (uint8_t)next_random();
}

static void test_simd(void **state)
{
    (void)state;
    const image_resampler *simd = image_resampler_avx2(), *scalar = image_resampler_scalar();
    if (!simd) {
        print_message("no AVX2 here: skipped\n");
        skip();
    }
    random_state = (uint32_t)(base_now_ms() * 1000);
    print_message("seed %u\n", random_state);
    for (int round = 0; round < 300; round++) {
        uint32_t in = 1 + next_random() % (round % 7 == 0 ? 4000 : 300);
        uint32_t out = 1 + next_random() % 400;
        if (in == out)
            continue;
        image_axis axis;
        assert_int_equal(DERMIS_OK, image_axis_init(&axis, in, out, round & 1, NULL));
        size_t width = 32 * (1 + next_random() % 20);
        uint8_t *line = base_calloc(BASE_TAG_BASE, in + IMAGE_PAD, 1);
        uint8_t *a = base_alloc(BASE_TAG_BASE, out + 64), *b = base_alloc(BASE_TAG_BASE, out + 64);
        fill(line, in, round % 3);
        memset(a, 0xa5, out + 64);
        memset(b, 0xa5, out + 64);
        scalar->along(&axis, line, a);
        simd->along(&axis, line, b);
        assert_memory_equal(a, b, out + 64);
        uint8_t *block = base_alloc(BASE_TAG_BASE, width * axis.longest);
        const uint8_t **rows = base_calloc(BASE_TAG_BASE, axis.longest, sizeof *rows);
        uint8_t *c = base_alloc(BASE_TAG_BASE, width + 64),
                *d = base_alloc(BASE_TAG_BASE, width + 64);
        fill(block, width * axis.longest, round % 3);
        memset(c, 0xa5, width + 64);
        memset(d, 0xa5, width + 64);
        for (uint32_t i = 0; i < axis.longest; i++)
            rows[i] = block + i * width;
        for (int k = 0; k < 4; k++) {
            uint32_t output = k == 0 ? 0 : k == 1 ? out - 1 : next_random() % out;
            scalar->across(&axis, output, rows, width, c);
            simd->across(&axis, output, rows, width, d);
            assert_memory_equal(c, d, width + 64);
        }
        size_t pixels = 1 + next_random() % 100, stride = base_align_up(pixels, 32) + IMAGE_PAD;
        uint8_t *rgb = base_alloc(BASE_TAG_BASE, pixels * 3);
        uint8_t *p = base_calloc(BASE_TAG_BASE, stride, 3),
                *q = base_calloc(BASE_TAG_BASE, stride, 3);
        fill(rgb, pixels * 3, 2);
        scalar->split(rgb, pixels, p, stride);
        simd->split(rgb, pixels, q, stride);
        for (int plane = 0; plane < 3; plane++)
            assert_memory_equal(p + plane * stride, q + plane * stride, pixels);
        void *all[] = {line, a, b, block, rows, c, d, rgb, p, q};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            base_free(all[i]);
        image_axis_release(&axis);
    }
}

/* ---- overlays ---- */

static float *pixels_of(const uint8_t *data, size_t size, image_info *info)
{
    assert_int_equal(DERMIS_OK, image_probe(data, size, NULL, info, NULL));
    float *out = base_calloc(BASE_TAG_BASE, (size_t)info->width * info->height * 3, sizeof *out);
    assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, NULL, &(image_tensor){info->width, info->height, 3, out}, NULL, 0, NULL, NULL));
    return out;
}

/* The map's value at a pixel, half-pixel bilinear, straight from the definition. */
static double map_at(const float *map, int mh, int mw, double y, double x)
{
    double r = 0;
    int y0 = (int)floor(y), x0 = (int)floor(x);
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 2; i++) {
            int yy = y0 + j < 0 ? 0 : y0 + j >= mh ? mh - 1 : y0 + j;
            int xx = x0 + i < 0 ? 0 : x0 + i >= mw ? mw - 1 : x0 + i;
            r += map[yy * mw + xx] * (j ? y - y0 : 1 - (y - y0)) * (i ? x - x0 : 1 - (x - x0));
        }
    return r;
}

static void check_overlay(const char *name, image_encoding encoding, double tolerance)
{
    enum { MH = 5, MW = 7 };
    float map[MH * MW];
    for (int i = 0; i < MH * MW; i++)
        map[i] = (float)((i * 37) % 101) / 100.0f;
    size_t size, overlay_size = 0;
    uint8_t *data = load(name, &size);
    char *overlay = NULL;
    FILE *out = open_memstream(&overlay, &overlay_size);
    dermis_error err = {0};
    if (image_overlay(data, size, NULL, map, MH, MW, IMAGE_JET, 0.4f, encoding, out, &err) !=
        DERMIS_OK)
        fail_msg("%s: %s", name, err.text);
    fclose(out);
    image_info photo_info, overlay_info;
    float *photo = pixels_of(data, size, &photo_info);
    float *got = pixels_of((uint8_t *)overlay, overlay_size, &overlay_info);
    assert_int_equal(photo_info.width, overlay_info.width);
    assert_int_equal(photo_info.height, overlay_info.height);
    assert_int_equal(1, overlay_info.orientation);
    assert_int_equal(encoding == IMAGE_ENCODE_PNG ? IMAGE_PNG : IMAGE_JPEG, overlay_info.format);
    const uint8_t(*jet)[3] = image_colormap_table(IMAGE_JET);
    size_t w = photo_info.width, h = photo_info.height, far = 0;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            double v = map_at(map, MH, MW, (y + 0.5) * MH / h - 0.5, (x + 0.5) * MW / w - 0.5);
            int index = (int)(v * 256) > 255 ? 255 : (int)(v * 256);
            for (int c = 0; c < 3; c++) {
                double want = 0.4 * jet[index][c] + 0.6 * photo[(y * w + x) * 3 + c];
                /* float against double may fall into the neighbouring colour */
                far += fabs(want - got[(y * w + x) * 3 + c]) > tolerance;
            }
        }
    if (far > w * h * 3 / 100)
        fail_msg("%s: %zu of %zu values are off", name, far, w * h * 3);
    base_free(photo);
    base_free(got);
    base_free(data);
    free(overlay);
}

static void test_overlay(void **state)
{
    (void)state;
    char name[64];
    for (int o = 1; o <= 8; o++) {
        snprintf(name, sizeof name, "jpeg-orientation-%d.jpg", o);
        check_overlay(name, IMAGE_ENCODE_PNG, 0.51);
        check_overlay(name, IMAGE_ENCODE_JPEG, 24);
    }
    check_overlay("png-exif-interlaced.png", IMAGE_ENCODE_PNG, 0.51);
    check_overlay("webp-orientation-3.webp", IMAGE_ENCODE_PNG, 0.51);
    check_overlay("jpeg-1x1.jpg", IMAGE_ENCODE_PNG, 0.51);
    check_overlay("jpeg-17x500.jpg", IMAGE_ENCODE_JPEG, 24);
}

static void test_overlay_edges(void **state)
{
    (void)state;
    size_t size, n = 0;
    uint8_t *data = load("jpeg-444.jpg", &size);
    char *text = NULL;
    const float odd[4] = {NAN, -1.0f, INFINITY, 1e30f};
    FILE *out = open_memstream(&text, &n);
    assert_int_equal(DERMIS_OK, image_overlay(data, size, NULL, odd, 2, 2, IMAGE_INFERNO, 1.0f,
                                              IMAGE_ENCODE_PNG, out, NULL));
    fclose(out);
    free(text);
    out = fopen("/dev/full", "w");
    dermis_error err = {0};
    assert_non_null(out);
    setvbuf(out, NULL, _IONBF, 0);
    for (int e = 0; e < 2; e++)
        assert_int_equal(DERMIS_E_IO,
                         image_overlay(data, size, NULL, odd, 2, 2, IMAGE_JET, 0.4f,
                                       e ? IMAGE_ENCODE_JPEG : IMAGE_ENCODE_PNG, out, &err));
    fclose(out);
    assert_int_equal(DERMIS_E_USAGE, image_overlay(data, size, NULL, odd, 2, 2, IMAGE_JET, NAN,
                                                   IMAGE_ENCODE_PNG, stdout, NULL));
    base_free(data);
}

static void test_colormaps(void **state)
{
    (void)state;
    image_colormap map;
    assert_int_equal(DERMIS_OK, image_colormap_parse("viridis", &map));
    assert_int_equal(IMAGE_VIRIDIS, map);
    assert_int_equal(DERMIS_E_USAGE, image_colormap_parse("Jet", &map));
    assert_int_equal(DERMIS_E_USAGE, image_colormap_parse(NULL, &map));
    const uint8_t ends[4][2][3] = {{{0, 0, 127}, {127, 0, 0}},
                                   {{48, 18, 59}, {122, 4, 2}},
                                   {{68, 1, 84}, {253, 231, 36}},
                                   {{0, 0, 3}, {252, 254, 164}}};
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(ends[i][0], image_colormap_table((image_colormap)i)[0], 3);
        assert_memory_equal(ends[i][1], image_colormap_table((image_colormap)i)[255], 3);
    }
}

/* ---- parts, photographs to keep, heat ---- */

/* Calls `each` for every golden picture that can be read whole. */
static void for_golden(void (*each)(const char *name, const uint8_t *data, size_t size, const image_info *info))
{
    DIR *d = opendir(golden);
    struct dirent *entry;
    unsigned seen = 0;
    assert_non_null(d);
    while ((entry = readdir(d))) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || (strcmp(dot, ".jpg") != 0 && strcmp(dot, ".png") != 0 && strcmp(dot, ".webp") != 0))
            continue;
        size_t size;
        image_info info;
        uint8_t *data = load(entry->d_name, &size);
        if (image_probe(data, size, NULL, &info, NULL) == DERMIS_OK) {
            float *whole = base_calloc(BASE_TAG_BASE, (size_t)info.width * info.height * 3, sizeof *whole);
            if (image_decode(data, size, NULL, NULL, &(image_tensor){info.width, info.height, 3, whole}, NULL, 0, NULL, NULL) == DERMIS_OK) {
                each(entry->d_name, data, size, &info);
                seen++;
            }
            base_free(whole);
        }
        base_free(data);
    }
    closedir(d);
    assert_true(seen > 50);
}

/* A part at its own size is that part of the whole; resized, it is the resize of that part alone (what
 * lies outside has no say): the part written as PNG and read back gives the same tensor. */
static void check_part(const char *name, const uint8_t *data, size_t size, const image_info *info)
{
    image_info again;
    float *whole = pixels_of(data, size, &again);
    for (int round = 0; round < 3; round++) {
        image_crop crop;
        crop.width = 1 + next_random() % info->width;
        crop.height = 1 + next_random() % info->height;
        crop.x = next_random() % (info->width - crop.width + 1);
        crop.y = next_random() % (info->height - crop.height + 1);
        float *part = base_calloc(BASE_TAG_BASE, (size_t)crop.width * crop.height * 3, sizeof *part);
        assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, &crop, &(image_tensor){crop.width, crop.height, 3, part}, NULL, 0, NULL, NULL));
        for (uint32_t y = 0; y < crop.height; y++)
            if (memcmp(part + (size_t)y * crop.width * 3, whole + ((size_t)(crop.y + y) * info->width + crop.x) * 3,
                       crop.width * 3 * sizeof *part) != 0)
                fail_msg("%s: row %u of the part %u,%u,%u,%u", name, y, crop.x, crop.y, crop.width, crop.height);
        base_free(part);
        /* the same through a picture of its own */
        char *png = NULL;
        size_t png_size = 0;
        FILE *out = open_memstream(&png, &png_size);
        image_writer *w;
        image_writer_options options = {.encoding = IMAGE_ENCODE_PNG};
        uint8_t *row = base_alloc(BASE_TAG_BASE, crop.width * 3);
        assert_int_equal(DERMIS_OK, image_writer_open(&options, crop.width, crop.height, out, &w, NULL));
        for (uint32_t y = 0; y < crop.height; y++) {
            for (uint32_t i = 0; i < crop.width * 3; i++)
                row[i] = (uint8_t)whole[((size_t)(crop.y + y) * info->width + crop.x) * 3 + i];
            assert_int_equal(DERMIS_OK, image_writer_row(w, row, NULL));
        }
        assert_int_equal(DERMIS_OK, image_writer_end(w, NULL));
        image_writer_free(w);
        fclose(out);
        float a[13 * 11 * 3], b[13 * 11 * 3];
        assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, &crop, &(image_tensor){13, 11, 3, a}, NULL, 0, NULL, NULL));
        assert_int_equal(DERMIS_OK, image_decode((uint8_t *)png, png_size, NULL, NULL, &(image_tensor){13, 11, 3, b}, NULL, 0, NULL, NULL));
        assert_memory_equal(a, b, sizeof a);
        base_free(row);
        free(png);
    }
    image_crop outside = {info->width, 0, 1, 1}, wide = {0, 0, info->width + 1, 1}, huge = {UINT32_MAX, 1, UINT32_MAX, 1};
    float pixel[3];
    assert_int_equal(DERMIS_E_USAGE, image_decode(data, size, NULL, &outside, &(image_tensor){1, 1, 3, pixel}, NULL, 0, NULL, NULL));
    assert_int_equal(DERMIS_E_USAGE, image_decode(data, size, NULL, &wide, &(image_tensor){1, 1, 3, pixel}, NULL, 0, NULL, NULL));
    assert_int_equal(DERMIS_E_USAGE, image_decode(data, size, NULL, &huge, &(image_tensor){1, 1, 3, pixel}, NULL, 0, NULL, NULL));
    base_free(whole);
}

static void test_parts(void **state)
{
    (void)state;
    for_golden(check_part);
}

static double brightness(const float *rgb)
{
    return .299 * rgb[0] + .587 * rgb[1] + .114 * rgb[2];
}

/* A copy holds nothing of the file but its pixels, and these are near to `expected`. */
static void check_copy(const char *name, const image_copy *copy, const uint8_t *jpeg, size_t jpeg_size,
                       const float *expected)
{
    static const char *const metadata[] = {"Exif", "ICC_PROFILE", "http://ns.adobe.com", "Photoshop"};
    image_info written;
    float *got = pixels_of(jpeg, jpeg_size, &written);
    assert_int_equal(IMAGE_JPEG, written.format);
    assert_int_equal(1, written.orientation);
    assert_false(written.progressive);
    assert_int_equal(copy->width, written.width);
    assert_int_equal(copy->height, written.height);
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++)
        assert_null(memmem(jpeg, jpeg_size, metadata[i], strlen(metadata[i])));
    double sum = 0; /* brightness: chroma is halved, and these pictures are noise */
    size_t pixels = (size_t)copy->width * copy->height;
    for (size_t i = 0; i < pixels; i++)
        sum += fabs(brightness(got + 3 * i) - brightness(expected + 3 * i));
    if (sum / pixels > 8)
        fail_msg("%s: brightness differs by %.1f on average", name, sum / pixels);
    base_free(got);
}

/* One decoding gives the tensor that it gives alone, and copies upright and reduced as the tensor is. */
static void check_photo(const char *name, const uint8_t *data, size_t size, const image_info *info)
{
    char *jpeg[2] = {NULL};
    size_t jpeg_size[2] = {0};
    static float alone[12 * 10 * 3], together[12 * 10 * 3];
    image_copy copies[2] = {{.max_side = info->width > 24 ? 24 : 0, .quality = 95}, {.max_side = 16, .quality = 95}};
    for (int i = 0; i < 2; i++)
        copies[i].out = open_memstream(&jpeg[i], &jpeg_size[i]);
    assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, NULL, &(image_tensor){12, 10, 3, alone}, NULL, 0, NULL, NULL));
    assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, NULL, &(image_tensor){12, 10, 3, together}, copies, 2, NULL, NULL));
    assert_memory_equal(alone, together, sizeof alone);
    uint32_t longest = info->width > info->height ? info->width : info->height;
    for (int i = 0; i < 2; i++) {
        uint32_t w = copies[i].width, h = copies[i].height, side = copies[i].max_side;
        fclose(copies[i].out);
        longest = side && side < longest ? side : longest;
        assert_int_equal(longest, w > h ? w : h);
        float *expected = base_calloc(BASE_TAG_BASE, (size_t)w * h * 3, sizeof *expected);
        assert_int_equal(DERMIS_OK, image_decode(data, size, NULL, NULL, &(image_tensor){w, h, 3, expected}, NULL, 0, NULL, NULL));
        check_copy(name, &copies[i], (uint8_t *)jpeg[i], jpeg_size[i], expected);
        base_free(expected);
        free(jpeg[i]);
    }
}

static void test_photos(void **state)
{
    (void)state;
    for_golden(check_photo);
}

static void test_heat(void **state)
{
    (void)state;
    static const float map[6] = {0, .25f, .5f, .75f, 1, NAN};
    char *png = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&png, &size);
    assert_int_equal(DERMIS_OK, image_heat(map, 2, 3, IMAGE_VIRIDIS, 40, 30, out, NULL));
    fclose(out);
    image_info info;
    float *got = pixels_of((uint8_t *)png, size, &info), clean[6];
    const uint8_t(*colours)[3] = image_colormap_table(IMAGE_VIRIDIS);
    assert_int_equal(40, info.width);
    assert_int_equal(30, info.height);
    for (int i = 0; i < 6; i++)
        clean[i] = isnan(map[i]) ? 0 : map[i];
    unsigned far = 0;
    for (int y = 0; y < 30; y++)
        for (int x = 0; x < 40; x++) {
            double v = map_at(clean, 2, 3, (y + .5) * 2 / 30 - .5, (x + .5) * 3 / 40 - .5);
            const float *rgb = got + ((size_t)y * 40 + x) * 3;
            bool near = false; /* a value at the border of two bins may fall into either */
            for (int bin = (int)(v * 256 - .01); bin <= (int)(v * 256 + .01); bin++) {
                const uint8_t *c = colours[bin < 0 ? 0 : bin > 255 ? 255 : bin];
                near |= rgb[0] == c[0] && rgb[1] == c[1] && rgb[2] == c[2];
            }
            far += !near;
        }
    assert_int_equal(0, far);
    assert_int_equal(DERMIS_E_USAGE, image_heat(map, 2, 3, IMAGE_JET, 0, 30, stdout, NULL));
    assert_int_equal(DERMIS_E_USAGE, image_heat(map, 2, 3, IMAGE_JET, 40, 4097, stdout, NULL));
    base_free(got);
    free(png);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_simd),          cmocka_unit_test(test_overlay),
        cmocka_unit_test(test_overlay_edges), cmocka_unit_test(test_colormaps),
        cmocka_unit_test(test_parts),         cmocka_unit_test(test_photos),
        cmocka_unit_test(test_heat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
