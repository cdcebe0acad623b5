/* fuzz_image.c - any bytes through the picture decoders and the overlay, with small limits so that
 * a run is fast. Also replays files: built without the fuzzer (IMAGE_REPLAY), it takes paths of
 * files or folders. */
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float tensor[24 * 20 * 3];
    static const float map[4] = {0.0f, 0.3f, 0.7f, 1.0f};
    image_limits limits;
    image_limits_default(&limits);
    limits.max_pixels = 1 << 18;
    limits.max_scans = 20;
    limits.max_memory = (size_t)16 << 20;
    image_info info;
    if (image_probe(data, size, &limits, &info, NULL) != DERMIS_OK)
        return 0;
    if (info.orientation < 1 || info.orientation > 8 || info.width == 0 || info.height == 0)
        abort();
    image_decode(data, size, &limits, NULL, &(image_tensor){24, 20, 3, tensor}, NULL, 0, NULL, NULL);
    if ((info.width ^ info.height) & 1) { /* half of the inputs also enlarge, copy and draw */
        image_decode(data, size, &limits, NULL, &(image_tensor){1, 480, 1, tensor}, NULL, 0, NULL, NULL);
        FILE *out = fopen("/dev/null", "w");
        if (out) {
            image_copy copies[2] = {{.max_side = 40, .quality = 80, .out = out}, {.max_side = 7, .quality = 80, .out = out}};
            image_crop crop = {info.width / 3, info.height / 4, (info.width + 1) / 2, (info.height + 1) / 2};
            image_decode(data, size, &limits, &crop, &(image_tensor){24, 20, 3, tensor}, copies, 2, NULL, NULL);
            image_overlay(data, size, &limits, map, 2, 2, IMAGE_JET, 0.4f,
                          info.width & 2 ? IMAGE_ENCODE_PNG : IMAGE_ENCODE_JPEG, out, NULL);
            fclose(out);
        }
    }
    base_memory memory;
    base_memory_read(&memory);
    if (memory.live_bytes[BASE_TAG_IMAGE] != 0)
        abort(); /* a leak */
    return 0;
}

#ifdef IMAGE_REPLAY
#include "replay.h"
#endif
