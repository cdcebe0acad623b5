/* image_dump.c - for tests/golden/compare_images.py: image_dump W H CHANNELS FILE... writes for
 * each file one status byte and, where that is 0, the tensor's W * H * CHANNELS bytes. With
 * `--time` it decodes each file five times and prints the best time instead. */
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int main(int argc, char **argv)
{
    bool timing = argc > 1 && strcmp(argv[1], "--time") == 0;
    int first = timing ? 2 : 1;
    if (argc < first + 4) {
        fprintf(stderr, "usage: image_dump [--time] W H CHANNELS FILE...\n");
        return 2;
    }
    uint32_t w = (uint32_t)atoi(argv[first]), h = (uint32_t)atoi(argv[first + 1]);
    uint32_t channels = (uint32_t)atoi(argv[first + 2]);
    size_t n = (size_t)w * h * channels;
    float *tensor = base_calloc(BASE_TAG_IMAGE, n, sizeof *tensor);
    uint8_t *bytes = base_alloc(BASE_TAG_IMAGE, n);
    if (!tensor || !bytes)
        return 1;
    for (int i = first + 3; i < argc; i++) {
        dermis_error err = {0};
        uint8_t *data = NULL;
        size_t size = 0;
        image_info info = {0};
        double best = 1e9;
        dermis_status status =
            base_file_read(argv[i], (size_t)1 << 30, BASE_TAG_IMAGE, &data, &size, &err);
        for (int round = 0; status == DERMIS_OK && round < (timing ? 5 : 1); round++) {
            double begin = base_now_ms();
            status = image_decode(data, size, NULL, NULL, &(image_tensor){w, h, channels, tensor}, NULL, 0, &info, &err);
            double took = base_now_ms() - begin;
            best = took < best ? took : best;
        }
        if (status != DERMIS_OK)
            fprintf(stderr, "%s: %s\n", argv[i], err.text);
        if (timing) {
            printf("%s: %s %ux%u, %.2f ms, estimate %zu, resident peak %zu bytes\n", argv[i],
                   base_status_name(status), info.width, info.height, best,
                   image_decode_memory(&info, NULL, &(image_tensor){w, h, channels, NULL}, NULL, 0), base_rss_peak_bytes());
        } else {
            putchar((int)status);
            for (size_t j = 0; j < n; j++)
                bytes[j] = (uint8_t)tensor[j];
            if (status == DERMIS_OK)
                fwrite(bytes, 1, n, stdout);
        }
        base_free(data);
    }
    base_free(tensor);
    base_free(bytes);
    return 0;
}
