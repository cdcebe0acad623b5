"""Writes colormaps.c from matplotlib's tables: python make_colormaps.py > colormaps.c

Needs matplotlib (the tables that stand here came from 3.11.2). Entry i is cmap(i, bytes=True)."""
import matplotlib

print("""/* colormaps.c - 256 colours each, made by make_colormaps.py from matplotlib's tables (jet: Copyright
 * (c) Matplotlib Development Team, PSF-style licence; viridis and inferno: Nathaniel J. Smith, Stefan
 * van der Walt, Eric Firing, CC0; turbo: Anton Mikhailov, Google, Apache-2.0). Constant data. */
#include "image/image_private.h"

#include <string.h>

/* clang-format off */""")
names = ["jet", "turbo", "viridis", "inferno"]
print("static const uint8_t tables[4][256][3] = {")
for name in names:
    cmap = matplotlib.colormaps[name]
    print("    { /* %s */" % name)
    for i in range(0, 256, 6):
        print("        " + " ".join("{%d, %d, %d}," % cmap(j, bytes=True)[:3] for j in range(i, min(i + 6, 256))))
    print("    },")
print("""};
/* clang-format on */

dermis_status image_colormap_parse(const char *name, image_colormap *out)
{
    static const char *const names[] = {"jet", "turbo", "viridis", "inferno"};
    for (int i = 0; i < 4; i++)
        if (name && strcmp(name, names[i]) == 0) {
            *out = (image_colormap)i;
            return DERMIS_OK;
        }
    return DERMIS_E_USAGE;
}

const uint8_t (*image_colormap_table(image_colormap colormap))[3]
{
    return tables[colormap];
}""")
