/* cpu.c - which instruction sets this processor and kernel let us use, as whole usable bundles.
 * Any thread. */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const level_names[KERNELS_LEVEL_COUNT] = {"scalar", "avx2", "avx512"};

const char *kernels_level_name(kernels_level level)
{
    return level < KERNELS_LEVEL_COUNT ? level_names[level] : "unknown";
}

bool kernels_level_parse(const char *name, kernels_level *out)
{
    for (int i = 0; i < KERNELS_LEVEL_COUNT; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (kernels_level)i;
            return true;
        }
    }
    return false;
}

kernels_level kernels_level_best(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return KERNELS_SCALAR;
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    if ((c & (fma | osxsave | avx | f16c)) != (fma | osxsave | avx | f16c))
        return KERNELS_SCALAR;
    /* The instructions may be there and the operating system not save their registers. */
    unsigned xcr0, high;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & 0x06) != 0x06) /* XMM, YMM */
        return KERNELS_SCALAR;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5))
        return KERNELS_SCALAR;
    const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    if ((b & (f | dq | bw | vl)) != (f | dq | bw | vl) || (xcr0 & 0xe0) != 0xe0)
        return KERNELS_AVX2; /* 0xe0: mask registers and both halves of the ZMM file */
    return KERNELS_AVX512;
#else
    return KERNELS_SCALAR;
#endif
}

dermis_status kernels_cap_from_env(kernels_level *out, dermis_error *err)
{
    const char *name = getenv("DERMIS_CPU");
    if (!name || !*name) {
        *out = kernels_level_best();
        return DERMIS_OK;
    }
    if (!kernels_level_parse(name, out))
        return base_fail(err, DERMIS_E_USAGE,
                         "DERMIS_CPU is '%s'; it must be scalar, avx2 or avx512", name);
    return DERMIS_OK;
}
