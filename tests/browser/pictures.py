"""Pictures that say where in them one is, and photographs that advice is due on, without a library for pictures."""
import struct
import zlib


def png(width, height, row, level=0):
    """row(y): the bytes of that row, three for each pixel. Level 0 leaves it uncompressed, so large."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + bytes(row(y)) for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, level)) + chunk(b"IEND", b""))


def chart(width, height, level=1):
    """Red grows from the left edge to the right one, green from the top down: a colour is a place."""
    row = bytearray(3 * width)
    row[0::3] = bytes(255 * x // (width - 1) for x in range(width))
    row[2::3] = bytes([60]) * width

    def at(y):
        row[1::3] = bytes([255 * y // (height - 1)]) * width
        return row
    return png(width, height, at, level)


# What a page's canvas makes of a good photograph (JavaScript: c the context, i the image, w and h its size).
SPOILED = {
    "fine": "c.drawImage(i, 0, 0, w, h)",
    "dark": "c.filter = 'brightness(0.3)'; c.drawImage(i, 0, 0, w, h)",
    "blur": "c.filter = 'blur(' + w / 40 + 'px)'; c.drawImage(i, 0, 0, w, h)",
    "bright": "c.filter = 'brightness(2.2)'; c.drawImage(i, 0, 0, w, h)",
    "glare": "c.drawImage(i, 0, 0, w, h); c.filter = 'blur(2px)'; c.fillStyle = '#fff'; c.beginPath();"
             " c.ellipse(w * 0.6, h * 0.4, w * 0.12, h * 0.1, 0.4, 0, 7); c.fill()",
    "few": "canvas.width = canvas.height = 120; c.drawImage(i, 0, 0, 120, 120)",
}
