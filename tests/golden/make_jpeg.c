/* make_jpeg.c - writes the kinds of JPEG that Pillow cannot: make_images.py builds it with
 * `cc make_jpeg.c -ljpeg` and pipes raw samples in.
 * make_jpeg W H COMPONENTS SPACE SAMPLING OPTIONS < raw > jpeg
 * SPACE: ycc rgb grey cmyk ycck; SAMPLING: e.g. 2x2,1x1,1x1; OPTIONS: letters of
 * p progressive, a arithmetic, r restart every 3 MCUs, s one scan a component, n no Adobe marker.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, stdout);
    c.image_width = (unsigned)atoi(argv[1]);
    c.image_height = (unsigned)atoi(argv[2]);
    c.input_components = atoi(argv[3]);
    c.in_color_space = c.input_components == 1   ? JCS_GRAYSCALE
                       : c.input_components == 3 ? JCS_RGB
                                                 : JCS_CMYK;
    jpeg_set_defaults(&c);
    const char *space = argv[4];
    jpeg_set_colorspace(&c, !strcmp(space, "rgb")    ? JCS_RGB
                            : !strcmp(space, "cmyk") ? JCS_CMYK
                            : !strcmp(space, "ycck") ? JCS_YCCK
                            : !strcmp(space, "grey") ? JCS_GRAYSCALE
                                                     : JCS_YCbCr);
    jpeg_set_quality(&c, 85, TRUE);
    char *p = argv[5];
    for (int i = 0; i < c.num_components; i++) {
        c.comp_info[i].h_samp_factor = p[0] - '0';
        c.comp_info[i].v_samp_factor = p[2] - '0';
        p += 4;
    }
    jpeg_scan_info scans[4];
    if (strchr(argv[6], 's')) {
        for (int i = 0; i < c.num_components; i++)
            scans[i] = (jpeg_scan_info){1, {i}, 0, 63, 0, 0};
        c.scan_info = scans;
        c.num_scans = c.num_components;
    }
    if (strchr(argv[6], 'p'))
        jpeg_simple_progression(&c);
    if (strchr(argv[6], 'a'))
        c.arith_code = TRUE;
    if (strchr(argv[6], 'r'))
        c.restart_interval = 3;
    if (strchr(argv[6], 'n'))
        c.write_Adobe_marker = FALSE;
    jpeg_start_compress(&c, TRUE);
    size_t n = (size_t)c.image_width * (size_t)c.input_components;
    unsigned char *row = malloc(n);
    while (row && c.next_scanline < c.image_height && fread(row, 1, n, stdin) == n)
        jpeg_write_scanlines(&c, &row, 1);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    free(row);
    return 0;
}
