/* maps.c - heat maps of several classes as bytes: "MAP1", count, height, width, then for each map its
 * class, whether it is blank, and its values as floats; all little-endian 32-bit. They come back from
 * the database, so reading checks everything. */
#include <string.h>

#include "server/app.h"

#define HEADER_BYTES 16u
#define MAX_SIDE     4096u

static void put_u32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t map_bytes(uint32_t height, uint32_t width)
{
    return 8 + (size_t)height * width * 4;
}

size_t maps_size(uint32_t count, uint32_t height, uint32_t width)
{
    return HEADER_BYTES + count * map_bytes(height, width);
}

uint32_t maps_fitting(uint32_t count, uint32_t height, uint32_t width, size_t bytes)
{
    size_t most = bytes < HEADER_BYTES ? 0 : (bytes - HEADER_BYTES) / map_bytes(height, width);
    return most < count ? (uint32_t)most : count;
}

void maps_begin(void *out, uint32_t count, uint32_t height, uint32_t width)
{
    uint8_t *at = out;
    memset(at, 0, maps_size(count, height, width));
    memcpy(at, "MAP1", 4);
    put_u32(at + 4, count);
    put_u32(at + 8, height);
    put_u32(at + 12, width);
}

void maps_put(void *out, uint32_t slot, const dermis_map *map)
{
    uint8_t *at = (uint8_t *)out + HEADER_BYTES + slot * map_bytes(map->height, map->width);
    put_u32(at, map->class_index);
    put_u32(at + 4, map->blank);
    at += 8;
    for (size_t i = 0; i < (size_t)map->height * map->width; i++, at += 4) {
        uint32_t bits;
        memcpy(&bits, &map->values[i], 4);
        put_u32(at, bits);
    }
}

bool maps_read(const void *data, size_t size, map_set *out)
{
    const uint8_t *at = data;
    if (size < HEADER_BYTES || memcmp(at, "MAP1", 4) != 0)
        return false;
    map_set set = {get_u32(at + 4), get_u32(at + 8), get_u32(at + 12), at, size};
    if (set.count == 0 || set.count > 65536 || set.height == 0 || set.width == 0 || set.height > MAX_SIDE ||
        set.width > MAX_SIDE || (size - HEADER_BYTES) / map_bytes(set.height, set.width) != set.count ||
        (size - HEADER_BYTES) % map_bytes(set.height, set.width) != 0)
        return false;
    *out = set;
    return true;
}

static const uint8_t *map_at(const map_set *set, uint32_t slot)
{
    return set->data + HEADER_BYTES + slot * map_bytes(set->height, set->width);
}

uint32_t maps_class(const map_set *set, uint32_t slot)
{
    return get_u32(map_at(set, slot));
}

bool maps_get(const map_set *set, uint32_t class_index, float *values, bool *blank)
{
    for (uint32_t slot = 0; slot < set->count; slot++) {
        const uint8_t *at = map_at(set, slot);
        if (get_u32(at) != class_index)
            continue;
        *blank = get_u32(at + 4) != 0;
        for (size_t i = 0; i < (size_t)set->height * set->width; i++) {
            uint32_t bits = get_u32(at + 8 + 4 * i);
            memcpy(&values[i], &bits, 4);
        }
        return true;
    }
    return false;
}
