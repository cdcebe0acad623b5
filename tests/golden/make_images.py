"""Makes tests/golden/image/: small pictures of every kind, and what Pillow makes of them.

    python make_images.py            (pip install -r requirements-image.txt; cc and libjpeg's headers)

expected.txt has a line for each tensor: FILE WIDTH HEIGHT CHANNELS FNV1A64 OFFSET; where OFFSET is not
-1 the tensor's bytes stand there in expected.bin, larger ones have their hash alone."""
import io
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, PngImagePlugin

HERE = Path(__file__).parent
OUT = HERE / "image"
assert PIL.__version__ == "11.3.0", "the golden bytes are those of Pillow 11.3.0"


def scene(w, h, channels=3, seed=0):
    """Smooth colours, edges and some noise: all that resampling and chroma can get wrong."""
    rng = np.random.default_rng(w * 1000 + h + seed)
    y, x = np.mgrid[0:h, 0:w].astype(float)
    out = np.empty((h, w, channels))
    for c in range(channels):
        out[..., c] = 128 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (7 - c)) + 20 * ((x + 2 * y) // 9 % 2)
    disc = (x - w * 0.6) ** 2 + (y - h * 0.4) ** 2 < (min(w, h) * 0.25) ** 2
    out[disc] = [220, 40, 60, 130][:channels]
    return np.clip(out + rng.normal(0, 6, out.shape), 0, 255).astype(np.uint8)


def save(name, array, **options):
    Image.fromarray(array.squeeze()).save(OUT / name, **options)


# ---- JPEG ----

def make_jpegs(tool):
    def make(name, array, space, sampling, options="-"):
        h, w = array.shape[:2]
        c = array.shape[2] if array.ndim == 3 else 1
        raw = subprocess.run([tool, str(w), str(h), str(c), space, sampling, options], input=array.tobytes(), capture_output=True, check=True)
        (OUT / name).write_bytes(raw.stdout)

    for tag, s in {"444": "1x1,1x1,1x1", "422": "2x1,1x1,1x1", "420": "2x2,1x1,1x1", "440": "1x2,1x1,1x1", "411": "4x1,1x1,1x1", "410": "4x2,1x1,1x1"}.items():
        make(f"jpeg-{tag}.jpg", scene(61, 43), "ycc", s)
        make(f"jpeg-{tag}-progressive.jpg", scene(45, 37), "ycc", s, "p")
    make("jpeg-rgb.jpg", scene(40, 30), "rgb", "1x1,1x1,1x1")
    make("jpeg-restart.jpg", scene(70, 50), "ycc", "2x2,1x1,1x1", "r")
    make("jpeg-scans.jpg", scene(50, 41), "ycc", "2x2,1x1,1x1", "s")
    make("jpeg-arithmetic.jpg", scene(50, 41), "ycc", "2x2,1x1,1x1", "a")
    make("jpeg-grey.jpg", scene(50, 41, 1), "grey", "1x1")
    make("jpeg-grey-2x2.jpg", scene(50, 41, 1), "grey", "2x2")
    make("jpeg-grey-progressive.jpg", scene(50, 41, 1), "grey", "1x1", "p")
    for space in ("cmyk", "ycck"):
        make(f"jpeg-{space}-adobe.jpg", scene(40, 33, 4), space, "1x1,1x1,1x1,1x1")
    make("jpeg-cmyk-plain.jpg", scene(40, 33, 4), "cmyk", "1x1,1x1,1x1,1x1", "n")
    make("jpeg-ycck-420.jpg", scene(40, 33, 4), "ycck", "2x2,1x1,1x1,2x2")
    for w, h in ((1, 1), (3, 7), (17, 500), (500, 17), (8, 8), (1, 64), (64, 1), (32, 32), (32, 90), (90, 32)):
        make(f"jpeg-{w}x{h}.jpg", scene(w, h), "ycc", "2x2,1x1,1x1")
    Image.fromarray(scene(40, 30)).convert("CMYK").save(OUT / "jpeg-cmyk-pillow.jpg")
    tall = scene(47, 71)
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        save(f"jpeg-orientation-{o}.jpg", tall, exif=exif, quality=80)
    exif[0x0112] = 6
    save("jpeg-orientation-6-progressive.jpg", tall, exif=exif, progressive=True)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    save("jpeg-xmp-attribute.jpg", tall, xmp=xmp)
    save("jpeg-xmp-element.jpg", tall, xmp=b"<tiff:Orientation>3</tiff:Orientation>")
    exif[0x0112] = 2
    save("jpeg-exif-before-xmp.jpg", tall, xmp=xmp, exif=exif)
    base = io.BytesIO()
    Image.fromarray(tall).save(base, "JPEG")
    for tag, fields in {
        "big-endian": ("MM", 3, 1, b"\0\6\0\0"),
        "long": ("II", 4, 1, b"\6\0\0\0"),
        "byte": ("II", 1, 1, b"\6\0\0\0"),
        "nine": ("II", 3, 1, b"\x09\0\0\0"),
        "two-values": ("II", 3, 2, b"\6\0\1\0"),
        "rational": ("II", 5, 1, struct.pack("<I", 26)),
    }.items():
        order, kind, count, value = fields
        e = "<" if order == "II" else ">"
        tiff = order.encode() + struct.pack(e + "HIHHHI", 42, 8, 1, 0x0112, kind, count) + value + struct.pack(e + "III", 0, 12, 2)
        app = b"Exif\0\0" + tiff
        jpeg = base.getvalue()
        (OUT / f"jpeg-exif-{tag}.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app) + 2) + app + jpeg[2:])
    (OUT / "jpeg-trailing.jpg").write_bytes(base.getvalue() + b"trailing bytes \xff\xd8\xff" * 9)


# ---- PNG: an encoder of our own, for depths, filters and interlacing that Pillow does not write ----

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_row(row, depth):
    """row: (w, channels) of samples"""
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    if depth == 8:
        return flat.astype(np.uint8).tobytes()
    bits = ((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)
    return np.packbits(bits).tobytes()


def filtered(raw, prior, bpp, kind):
    left = bytes(bpp) + raw[:-bpp] if len(raw) > bpp else bytes(len(raw))
    upleft = bytes(bpp) + prior[:-bpp] if len(raw) > bpp else bytes(len(raw))
    out = bytearray([kind])
    for x, a, b, c in zip(raw, left, prior, upleft):
        p = a + b - c
        pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
        paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
        out.append((x - (0, a, b, (a + b) // 2, paeth)[kind]) & 255)
    return bytes(out)


def png(samples, depth, colour, interlace=False, extra=b"", palette=None, after=b""):
    h, w = samples.shape[:2]
    samples = samples.reshape(h, w, -1).astype(np.int64)
    bpp = max(1, samples.shape[2] * depth // 8)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlace else [(0, 0, 1, 1)]
    data = b""
    for x0, y0, dx, dy in passes:
        part = samples[y0::dy, x0::dx]
        if part.size == 0:
            continue
        prior = None
        for i, row in enumerate(part):
            raw = pack_row(row, depth)
            data += filtered(raw, prior or bytes(len(raw)), bpp, i % 5)
            prior = raw
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    if palette is not None:
        out += chunk(b"PLTE", palette.tobytes())
    packed = zlib.compress(data, 9)
    out += extra + chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IDAT", packed[len(packed) // 2 :])
    return out + after + chunk(b"IEND", b"")


def make_pngs():
    grey16 = {}
    w, h = 37, 29
    for colour, channels, depths in ((0, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (4, 2, (8, 16)), (6, 4, (8, 16))):
        for depth in depths:
            base = scene(w, h, 4, depth)[..., :channels].astype(np.int64)
            samples = base >> (8 - depth) if depth < 8 else base
            if depth == 16:
                samples = base * 256 + (base * 7) % 256
            palette = scene(2**depth, 1) if colour == 3 else None
            for interlace in (False, True):
                name = f"png-{colour}-{depth}{'-interlaced' if interlace else ''}.png"
                (OUT / name).write_bytes(png(samples, depth, colour, interlace, palette=palette))
                if (colour, depth) == (0, 16):
                    grey16[name] = base.astype(np.uint8).squeeze()
    index = scene(w, h, 1) >> 2
    (OUT / "png-palette-short.png").write_bytes(png(index, 8, 3, palette=scene(40, 1)))
    palette = scene(64, 1)
    for tag, trns in {"trns": bytes(range(0, 256, 4)), "trns-one": b"\xff\xff\0"}.items():
        body = png(index, 8, 3, palette=palette, extra=chunk(b"tRNS", trns))
        (OUT / f"png-palette-{tag}.png").write_bytes(body)
    (OUT / "png-grey-trns.png").write_bytes(png(scene(w, h, 1), 8, 0, extra=chunk(b"tRNS", b"\0\x80")))
    (OUT / "png-rgb-trns.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"tRNS", b"\0\xdc\0\x28\0\x3c")))
    (OUT / "png-gamma.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\0")))
    for w1, h1 in ((1, 1), (3, 7), (5, 5), (2, 300)):
        (OUT / f"png-{w1}x{h1}-interlaced.png").write_bytes(png(scene(w1, h1), 8, 2, True))
    exif = Image.Exif()
    exif[0x0112] = 5
    tiff = exif.tobytes()[6:]
    (OUT / "png-exif.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"eXIf", tiff)))
    (OUT / "png-exif-after.png").write_bytes(png(scene(w, h), 8, 2, after=chunk(b"eXIf", tiff)))
    (OUT / "png-exif-interlaced.png").write_bytes(png(scene(w, h), 8, 2, True, extra=chunk(b"eXIf", tiff)))
    hexa = ("\nexif\n%8d\n" % len(exif.tobytes())) + exif.tobytes().hex() + "\n"
    (OUT / "png-profile.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexa.encode()))))
    xmp = b'<rdf:Description tiff:Orientation="7"/>'
    (OUT / "png-xmp.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)))
    (OUT / "png-xmp-packed.png").write_bytes(png(scene(w, h), 8, 2, extra=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))))
    frames = [Image.fromarray(scene(w, h, 3, s)) for s in (0, 5)]
    frames[0].save(OUT / "png-animated.png", save_all=True, append_images=frames[1:])
    body = png(scene(w, h), 8, 2)
    (OUT / "png-no-end.png").write_bytes(body[:-12])
    (OUT / "png-trailing.png").write_bytes(body + b"trailing" * 20)
    return grey16


# ---- WebP ----

def make_webps():
    rgb, rgba = scene(59, 43), scene(59, 43, 4)
    rgba[:9, :9, 3] = 0
    save("webp-lossy.webp", rgb, quality=80)
    save("webp-lossy-low.webp", rgb, quality=5)
    save("webp-lossy-alpha.webp", rgba, quality=80)
    save("webp-lossless.webp", rgb, lossless=True)
    save("webp-lossless-alpha.webp", rgba, lossless=True, exact=True)
    save("webp-1x1.webp", scene(1, 1))
    save("webp-3x7.webp", scene(3, 7), quality=90)
    save("webp-17x300.webp", scene(17, 300), quality=70)
    grey = Image.fromarray(scene(30, 30, 1).squeeze()).convert("RGB")
    grey.save(OUT / "webp-grey.webp", lossless=True)
    frames = [Image.fromarray(scene(40, 31, 4, s)) for s in (0, 3, 6)]
    frames[0].save(OUT / "webp-animated.webp", save_all=True, append_images=frames[1:], duration=100)
    exif = Image.Exif()
    for o in (3, 6, 8):
        exif[0x0112] = o
        save(f"webp-orientation-{o}.webp", rgb, exif=exif, lossless=o == 8)
    save("webp-xmp.webp", rgb, xmp=b"<tiff:Orientation>5</tiff:Orientation>")
    # an animation whose first frame covers a part of the canvas
    small = io.BytesIO()
    Image.fromarray(scene(20, 12)).save(small, "WEBP", quality=80)
    stream = small.getvalue()[12:]

    def riff(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)

    def u24(n):
        return struct.pack("<I", n)[:3]

    body = riff(b"VP8X", bytes([2, 0, 0, 0]) + u24(39) + u24(29)) + riff(b"ANIM", b"\x10\x20\x30\xff\0\0")
    for _ in range(2):
        body += riff(b"ANMF", u24(3) + u24(4) + u24(19) + u24(11) + u24(100) + b"\0" + stream)
    (OUT / "webp-part.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)
    (OUT / "webp-trailing.webp").write_bytes((OUT / "webp-lossy.webp").read_bytes() + b"trailing" * 5)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for b in data:
        value = (value ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    with tempfile.TemporaryDirectory() as tmp:
        tool = str(Path(tmp) / "make_jpeg")
        subprocess.run(["cc", "-o", tool, str(HERE / "make_jpeg.c"), "-ljpeg"], check=True)
        make_jpegs(tool)
    grey16 = make_pngs()
    make_webps()
    lines, blob = [], b""
    for f in sorted(OUT.iterdir()):
        for w, h, mode, keep in ((32, 32, "RGB", True), (9, 50, "L", True), (300, 300, "RGB", False), (224, 224, "L", False), (61, 43, "RGB", False), (1, 1, "RGB", True)):
            with Image.open(f) as im:
                im = Image.fromarray(grey16[f.name]) if f.name in grey16 else ImageOps.exif_transpose(im)
                data = np.asarray(im.convert(mode).resize((w, h), Image.Resampling.LANCZOS)).tobytes()
            lines.append(f"{f.name} {w} {h} {3 if mode == 'RGB' else 1} {fnv1a(data):016x} {len(blob) if keep else -1}")
            if keep:
                blob += data
    (OUT / "expected.txt").write_text("\n".join(lines) + "\n")
    (OUT / "expected.bin").write_bytes(blob)
    print(len(lines), "tensors,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes in all")


main()
