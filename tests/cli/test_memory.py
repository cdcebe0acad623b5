"""What the program says a prediction can take, against what the kernel saw it take."""
import json
import os
import struct
import sys
import unittest
import zlib

from harness import PHOTO, SANITIZED, SOURCE, Case


def grey_jpeg(width, height, progressive=False):
    """A JPEG of 4:2:0 in which every code is one zero bit: difference 0, end of block."""
    def segment(marker, body):
        return bytes([0xff, marker]) + struct.pack(">H", len(body) + 2) + body

    def table(kind, symbol):  # one code of one bit
        return segment(0xc4, bytes([kind, 1] + [0] * 15 + [symbol]))

    out = b"\xff\xd8" + segment(0xdb, bytes(1) + bytes([1] * 64))
    out += segment(0xc2 if progressive else 0xc0, struct.pack(">BHHB", 8, height, width, 3)
                   + bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]))
    out += table(0, 0) + table(0x10, 0)
    out += segment(0xda, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0 if progressive else 63, 0]))
    units = -(-width // 16) * -(-height // 16)
    bits = units * 6 * (1 if progressive else 2)
    return out + bytes(bits // 8) + (b"\x01" if bits % 8 else b"") + b"\xff\xd9"


def png(width, height, interlaced):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    size = height * (3 * width + 1) + (8 * height if interlaced else 0)
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))
            + chunk(b"IDAT", zlib.compress(bytes(size), 1)) + chunk(b"IEND", b""))


class Memory(Case):
    def measured(self, *arguments):
        """Bound and peak of resident bytes. The kernel's VmHWM as the program reports it: what wait4
        says of a child begins with its parent's."""
        memory = json.loads(self.call("predict", "--json", *arguments)[0])[0]["memory"]
        return memory["bound_bytes"], memory["peak_rss_bytes"]

    def pictures(self):
        yield "small", PHOTO
        yield "baseline", self.write("baseline.jpg", grey_jpeg(4000, 3000))
        yield "progressive", self.write("progressive.jpg", grey_jpeg(2000, 1500, True))
        yield "png", self.write("rows.png", png(3000, 2000, 0))
        yield "interlaced", self.write("interlaced.png", png(2000, 1500, 1))
        for name in ("webp-lossless-alpha.webp", "webp-animated.webp"):
            yield name, os.path.join(SOURCE, "tests/golden/image", name)

    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_bound_holds(self):
        for model in ([], ["-m", self.model]):
            for name, photo in self.pictures():
                for more in ([], ["--overlay", self.path("o.png")]):
                    with self.subTest(name, model=model, more=more):
                        bound, peak = self.measured(*model, *more, photo)
                        self.assertLessEqual(peak, bound)
                        self.assertLess(bound, 1.1 * peak + (10 << 20), "a bound of no use")

    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_inspect_bounds_a_prediction(self):
        photo = self.write("baseline.jpg", grey_jpeg(4000, 3000))
        for model in ([], [self.model]):
            out = json.loads(self.call("inspect", "--json", *model)[0])["memory"]
            self.assertEqual(out["prediction_bytes"], sum(
                out[x + "_bytes"] for x in ("program", "model", "session", "photo")))
            _, peak = self.measured(*(["-m"] if model else []), *model, photo)
            self.assertLessEqual(peak, out["prediction_bytes"])

    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_budget_is_of_everything(self):
        photo = self.write("interlaced.png", png(2000, 1500, 1))
        overlay = self.path("o.png")
        plain, _ = self.measured("-m", self.model, photo)
        drawn, _ = self.measured("-m", self.model, "--overlay", overlay, photo)
        self.assertGreater(drawn, plain)
        os.remove(overlay)
        room = 256 << 10  # places of mappings differ a little from run to run
        _, peak = self.measured("-m", self.model, "--memory", str(drawn + room), "--overlay", overlay,
                                photo)
        self.assertLessEqual(peak, drawn + room)
        os.remove(overlay)
        # enough for the answer and for the overlay alone, not for it beside model and session
        error = self.predict("--memory", str((plain + drawn) // 2), "--overlay", overlay, photo,
                             code=12)[1]
        self.assertIn("interlaced.png: the overlay", error)
        self.assertEqual(os.listdir(self.here), ["interlaced.png"])
        self.predict("--memory", str(plain + room), photo)
        self.assertIn("PNG", self.predict("--memory", str(plain - (2 << 20)), photo, code=12)[1])

    def test_model_past_the_budget(self):
        self.assertIn("program and model take", self.predict("--memory", "1K", PHOTO, code=12)[1])

    @unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
    def test_file_past_the_budget(self):
        with open(PHOTO, "rb") as f:
            data = f.read() + bytes(30 << 20)
        self.assertIn("reading it", self.predict("--memory", "24M", self.write("p.jpg", data), code=12)[1])
        self.assertIn("reading it", self.predict("--memory", "24M", "-", stdin=data, code=12)[1])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
