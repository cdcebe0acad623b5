"""What the browser suites share: a real server, a page's fitness (audit.js), ways to give a page a picture.

A suite's file ends with `main()`; usage of each: test_NAME.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))
from driver import Browser, there  # noqa: E402
from service import Service  # noqa: E402

BUILD, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
PHOTO = SOURCE / "examples" / "ISIC_0000548.jpg"
PASSWORD = "correct battery 42"
SHOTS = BUILD / "screenshots"
AUDIT = (Path(__file__).parent / "audit.js").read_text(encoding="utf-8")


class Pages(unittest.TestCase):
    """One server for each class; SETTINGS are its flags."""
    SETTINGS = ("--rate-limit", 0)

    @classmethod
    def setUpClass(cls):
        SHOTS.mkdir(exist_ok=True)
        cls.service = Service(BUILD, *cls.SETTINGS).__enter__()
        cls.home = f"http://127.0.0.1:{cls.service.port}"

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__(None, None, None)

    def browser(self, language="en", width=1280):
        """Closed at the test's end, when its console must have been silent and no other origin have been asked."""
        browser = Browser(language, width)
        self.addCleanup(browser.close)
        self.addCleanup(self.quiet, browser)
        return browser

    def quiet(self, browser):
        self.assertEqual(browser.complaints(), [])
        browser.events()
        strange = [url for url in browser.asked if not url.startswith((self.home + "/", f"blob:{self.home}/", "data:", "about:"))]
        self.assertEqual(strange, [])
        self.assertTrue(any(url.startswith(self.home) for url in browser.asked))  # so that the list above was one

    def fit(self, browser, name, targets=True):
        """The page fits its window and everyone can use it."""
        self.assertEqual(browser.run(AUDIT, {"targets": targets and browser.width <= 360}), [], f"{name} {browser.width} {browser.language}")
        self.assertEqual(browser.run("return document.documentElement.lang"), browser.language)

    def look(self, browser, name):
        self.fit(browser, name)
        browser.shot(SHOTS / f"{name}-{browser.language}-{browser.width}.png")

    def choose(self, browser, path=PHOTO):
        """By the file field, as the button does."""
        browser.open(self.home + "/")
        browser.type("#image", str(path))
        self.previewed(browser)

    def previewed(self, browser):
        browser.wait("!document.getElementById('edit').hidden && document.getElementById('picture').naturalWidth > 0")

    def give(self, browser, data, name, kind, way="change"):
        """A file that comes by an event: "change" of the field, "drop", "paste"."""
        browser.run("""const [text, name, type, way] = arguments, moved = new DataTransfer();
            moved.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, {type}));
            if (way === 'change') { const f = document.getElementById('image'); f.files = moved.files; f.dispatchEvent(new Event('change', {bubbles: true})); }
            else if (way === 'paste') document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: moved, bubbles: true, cancelable: true}));
            else ['dragover', 'drop'].forEach((n) => document.getElementById('drop').dispatchEvent(new DragEvent(n, {dataTransfer: moved, bubbles: true, cancelable: true})));
            """, base64.b64encode(data).decode(), name, kind, way)

    def send(self, browser):
        browser.click("#look")
        self.arrived(browser)
        return browser.path().split("?")[0]

    def arrived(self, browser):
        browser.wait("location.pathname.startsWith('/result/') && document.readyState == 'complete'")
        self.assertTrue(browser.run("return [...document.querySelectorAll('.frame img')].every(i => i.complete && i.naturalWidth > 0)"))

    def log_in(self, browser, name, password=PASSWORD):
        browser.open(self.home + "/login/")
        browser.fill("#name", name)
        browser.fill("#password", password)
        browser.follow("form button.main")

    def account(self, name, *more):
        """One that the operator makes: sign-ups of one address are counted."""
        made = self.service.user("add", name, *more, password=PASSWORD + "\n")
        self.assertEqual(made.returncode, 0, made.stderr)

    def kept(self, name, *notes):
        """A client that has logged in, with the address of a result that it keeps."""
        client = self.service.client()
        self.assertEqual(client.log_in(name).status, 303)
        url = client.upload(PHOTO.read_bytes(), [("keep", "1")]).headers["Location"]
        if notes:
            self.assertEqual(client.form(url + "notes", dict(notes), url).status, 303)
        return client, url


def main():
    if not there():
        print("skipped: chromium and chromium-driver are not installed")
        sys.exit(77)
    unittest.main(module="__main__", argv=sys.argv[:1] + sys.argv[3:])
