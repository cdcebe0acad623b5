"""How a picture comes onto the page and what leaves it: paste, drop, the square by mouse and fingers, advice, large ones.

Usage: test_take.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import tempfile
from pathlib import Path

import pictures
from base import PHOTO, SHOTS, Pages, main

# Colour of the result's photograph at its corners, a little inwards, as places in the picture that was sent (0..1).
PLACES = """const image = document.querySelector('.frame .photo'), c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    c.canvas.width = image.naturalWidth; c.canvas.height = image.naturalHeight;
    c.drawImage(image, 0, 0);
    const at = (fx, fy) => {
        const w = c.canvas.width, h = c.canvas.height, n = Math.max(2, Math.round(w / 40));
        const d = c.getImageData(Math.round(fx * (w - n)), Math.round(fy * (h - n)), n, n).data;
        let r = 0, g = 0;
        for (let i = 0; i < d.length; i += 4) { r += d[i]; g += d[i + 1]; }
        return [r / (n * n) / 255, g / (n * n) / 255];
    };
    return {width: image.naturalWidth, height: image.naturalHeight, first: at(0, 0), last: at(1, 1)};"""
# Where the square lies on the picture that is seen: left, top, width, height (0..1).
SQUARE = """const s = document.getElementById('square').getBoundingClientRect(), p = document.getElementById('picture').getBoundingClientRect();
    return [(s.left - p.left) / p.width, (s.top - p.top) / p.height, s.width / p.width, s.height / p.height];"""
BOX = """const b = document.getElementById('square').getBoundingClientRect(); return [b.left, b.top, b.width, b.height];"""


class Take(Pages):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.chart = Path(cls.folder.name) / "chart.png"
        cls.chart.write_bytes(pictures.chart(900, 600))

    def square(self, browser):
        return browser.run(SQUARE)

    def sent_is_seen(self, browser, square, tolerance=0.012):
        """The part of the chart that the server looked at is the one that lay in the square."""
        left, top, width, height = square
        self.send(browser)
        got = browser.run(PLACES)
        self.assertEqual(got["width"], got["height"])
        inset = 0.5 / 40
        for axis, (start, length) in enumerate(((left, width), (top, height))):
            self.assertAlmostEqual(got["first"][axis], start + inset * length, delta=tolerance)
            self.assertAlmostEqual(got["last"][axis], start + (1 - inset) * length, delta=tolerance)

    def test_paste_and_drop(self):
        browser = self.browser()
        for way in ("paste", "drop"):
            browser.open(self.home + "/")
            self.give(browser, PHOTO.read_bytes(), "spot.jpg", "image/jpeg", way)
            self.previewed(browser)
            self.send(browser)
            browser.find("#heat")
        browser.open(self.home + "/")
        self.give(browser, b"%PDF-1.4 no picture", "letter.pdf", "application/pdf", "paste")
        browser.wait("!document.getElementById('problem').hidden")
        self.assertIn("no picture", browser.text("#problem"))
        self.give(browser, PHOTO.read_bytes()[:2000], "cut.jpg", "image/jpeg", "drop")  # shown as far as it goes, or said
        browser.wait("!document.getElementById('edit').hidden || document.getElementById('problem').textContent.includes('damaged')")

    def test_square_by_mouse(self):
        browser = self.browser()
        self.choose(browser, self.chart)
        whole = self.square(browser)
        self.assertAlmostEqual(whole[3], 1, delta=0.005)  # at first as large as fits
        browser.show("#stage")
        x, y, w, h = browser.run(BOX)
        browser.drag("mouse", ((x + w - 6, y + h - 6), (x + w * 0.45, y + h * 0.45)))  # by a corner: the opposite one stays
        small = self.square(browser)
        self.assertAlmostEqual(small[0], whole[0], delta=0.01)
        self.assertAlmostEqual(small[3], 0.45, delta=0.03)
        x, y, w, h = browser.run(BOX)
        browser.drag("mouse", ((x + w / 2, y + h / 2), (x + w / 2 + 170, y + h / 2 + 90)))
        moved = self.square(browser)
        self.assertAlmostEqual(moved[2], small[2], delta=0.002)
        self.assertGreater(moved[0], small[0] + 0.1)
        self.assertGreater(moved[1], small[1] + 0.1)
        browser.shot(SHOTS / "square-en-1280.png")
        self.sent_is_seen(browser, moved)

    def test_square_by_fingers(self):
        browser = self.browser("vi", 360)
        self.choose(browser, self.chart)
        browser.show("#stage")
        x, y, w, h = browser.run(BOX)
        middle = (x + w / 2, y + h / 2)
        browser.drag("touch", ((middle[0] - 70, middle[1]), (middle[0] - 35, middle[1])),
                     ((middle[0] + 70, middle[1]), (middle[0] + 35, middle[1])))  # a pinch
        small = self.square(browser)
        self.assertAlmostEqual(small[3], 0.5, delta=0.04)
        scrolled = browser.run("return scrollY")
        x, y, w, h = browser.run(BOX)
        browser.drag("touch", ((x + w / 2, y + h / 2), (x + w / 2 - 60, y + h / 2 + 40)))
        moved = self.square(browser)
        self.assertLess(moved[0], small[0] - 0.1)
        self.assertGreater(moved[1], small[1] + 0.1)
        self.assertEqual(browser.run("return scrollY"), scrolled)  # the page stays where it is
        browser.drag("touch", ((x + w / 2 - 60, y + h / 2 + 40), (1, 890)))  # it never leaves the picture
        edge = self.square(browser)
        self.assertAlmostEqual(edge[0], 0, delta=0.005)
        self.assertAlmostEqual(edge[1] + edge[3], 1, delta=0.005)
        browser.shot(SHOTS / "square-vi-360.png")
        self.sent_is_seen(browser, edge)

    def test_whole_picture(self):
        browser = self.browser("en", 360)
        self.choose(browser, self.chart)
        browser.click("#whole")
        browser.wait("document.getElementById('square').hidden")
        self.send(browser)
        got = browser.run(PLACES)
        self.assertEqual((got["width"], got["height"]), (900, 600))

    def test_larger_than_the_limit(self):
        """A phone's picture of 12 megapixels, 36 MB: drawn smaller, and the square with it."""
        big = Path(self.folder.name) / "big.png"
        big.write_bytes(pictures.chart(4032, 3024, level=0))
        self.assertGreater(big.stat().st_size, 36e6)
        browser = self.browser("en", 360)
        self.choose(browser, big)
        browser.run("const s = document.getElementById('size'); s.value = 40; s.dispatchEvent(new Event('input', {bubbles: true}))")
        browser.run("document.getElementById('square').focus()")
        browser.press(*["Shift+ArrowLeft"] * 3, *["ArrowUp"] * 4)
        square = self.square(browser)
        browser.events()
        self.sent_is_seen(browser, square)
        sent = [int(e["params"]["headers"]["Content-Length"]) for e in browser.events()
                if e["method"] == "Network.requestWillBeSentExtraInfo" and "Content-Length" in e["params"]["headers"]]
        self.assertEqual([1e5 < length <= 5 << 20 for length in sent], [True], sent)

    def test_back(self):
        """The phone's "back" leads from the square to the choice, and from the result to the choice, never off the page."""
        browser = self.browser("vi", 360)
        self.choose(browser)
        browser.back()
        browser.wait("document.getElementById('edit').hidden && document.getElementById('take').checkVisibility()")
        self.assertEqual(browser.path(), "/")
        browser.type("#image", str(PHOTO))
        self.previewed(browser)
        browser.click("#another")
        browser.wait("document.getElementById('take').checkVisibility()")
        browser.type("#image", str(PHOTO))
        self.previewed(browser)
        result = self.send(browser)
        browser.back()
        browser.wait("location.pathname == '/' && document.getElementById('take').checkVisibility()")
        browser.call("POST", "/forward")
        browser.wait(lambda: browser.path() == result)

    def test_advice(self):
        """A good photograph and what spoils it: each gets the line that is due, and no other."""
        browser = self.browser("en", 360)
        browser.open(self.home + "/")
        say = browser.run("return {...document.getElementById('texts').dataset}")
        for example in (PHOTO, PHOTO.with_name("PAT_842_1606_971.jpg")):
            for kind, draw in pictures.SPOILED.items():
                spoiled = self.drawn(browser, example, draw)
                browser.run("document.getElementById('advice').textContent = ''")
                self.give(browser, spoiled, "spot.jpg", "image/jpeg")
                browser.wait("document.querySelector('#advice li')")
                self.assertEqual(browser.run("return [...document.querySelectorAll('#advice li')].map((n) => n.textContent)"),
                                 [say[kind]], f"{example.name} {kind}")
                if example == PHOTO:
                    browser.shot(SHOTS / f"advice-{kind}-en-360.png")
        # what was said before it was sent stands with the result
        for kind, caution in (("dark", "rather dark"), ("fine", None)):
            browser.open(self.home + "/")
            self.give(browser, self.drawn(browser, PHOTO, pictures.SPOILED[kind]), "spot.jpg", "image/jpeg")
            browser.wait("document.querySelector('#advice li')")
            self.send(browser)
            said = browser.run("return [...document.querySelectorAll('.caution')].map((n) => n.textContent).join()")
            self.assertIn(caution or "", said)
            self.assertEqual(bool(said), bool(caution))
            browser.shot(SHOTS / f"advice-{kind}-result-en-360.png")

    def drawn(self, browser, path, draw):
        """The picture, drawn by the page's canvas as `draw` says, as JPEG."""
        browser.run("""window.made = '';
            const i = new Image(), canvas = document.createElement('canvas'), c = canvas.getContext('2d');
            const w = canvas.width = 500, h = canvas.height = 500;
            i.onload = function () { %s; window.made = canvas.toDataURL('image/jpeg', 0.95); };
            i.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(arguments[0]), (b) => b.charCodeAt(0))]));""" % draw,
                    base64.b64encode(path.read_bytes()).decode())
        return base64.b64decode(browser.wait("window.made").split(",")[1])


if __name__ == "__main__":
    main()
