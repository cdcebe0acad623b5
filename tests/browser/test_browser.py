"""The whole job in real Chromium: 360 and 1280 pixels, Vietnamese and English. Screenshots go to BUILD_ROOT/screenshots/.

Usage: test_browser.py BUILD_ROOT SOURCE_ROOT
"""
import shutil
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


class Job(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service(BUILD, "--rate-limit", 0).__enter__()
        cls.home = f"http://127.0.0.1:{cls.service.port}"
        cls.shots = BUILD / "screenshots"
        cls.shots.mkdir(exist_ok=True)

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__(None, None, None)

    def look(self, browser, name):
        """A page fits its window, says its language, and is photographed."""
        self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"), browser.run("return innerWidth"), name)
        self.assertEqual(browser.run("return document.documentElement.lang"), browser.language)
        self.assertEqual(browser.run("return document.querySelectorAll('h1').length >= 1"), True, name)
        browser.shot(self.shots / f"{browser.label}-{name}.png")

    def choose(self, browser):
        browser.open(self.home + "/")
        self.look(browser, "home")
        browser.type("#image", str(PHOTO))
        browser.wait("!document.getElementById('edit').hidden && document.getElementById('picture').naturalWidth > 0")
        self.look(browser, "preview")

    def send(self, browser):
        browser.click("#look")
        browser.wait("location.pathname.startsWith('/result/') && document.readyState == 'complete'")
        self.assertTrue(browser.run("return [...document.querySelectorAll('.frame img')].every(i => i.complete && i.naturalWidth > 0)"))

    def result(self, browser):
        self.look(browser, "result")
        before = browser.run("return document.getElementById('heat').src")
        address = browser.url()
        browser.run("""const s = document.getElementById('class'); s.selectedIndex = (s.selectedIndex + 1) % s.options.length;
                       s.dispatchEvent(new Event('change', {bubbles: true}));""")
        browser.wait(lambda: browser.run("const h = document.getElementById('heat'); return h.complete && h.naturalWidth > 0 && h.src")
                     not in (before, False))
        self.assertEqual(browser.url(), address)  # no reload
        opacity = browser.run("return getComputedStyle(document.getElementById('heat')).opacity")
        self.assertAlmostEqual(float(opacity), 0.4, 2)
        browser.run("""const a = document.getElementById('alpha'); a.value = 90;
                       a.dispatchEvent(new Event('input', {bubbles: true}));""")
        browser.wait("parseFloat(getComputedStyle(document.getElementById('heat')).opacity) > 0.8")

    def whole_job(self, language, width):
        browser = Browser(language, width)
        browser.language, browser.label = language, f"{language}-{width}"
        name = f"reader {language} {width}"
        try:
            self.choose(browser)
            browser.run("document.getElementById('square').focus()")
            for key in ("-", "-", "-", "ArrowRight"):
                browser.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key)
            self.send(browser)
            self.result(browser)
            result = browser.url()
            browser.open(self.home + "/signup/?next=" + result[len(self.home):])
            self.look(browser, "signup")
            browser.type("#name", name)
            browser.type("#password", PASSWORD)
            browser.type("#again", PASSWORD)
            browser.click("form button.main")
            browser.wait("location.pathname.startsWith('/result/')")
            browser.click("form[action$=keep] button")
            browser.wait("location.search.includes('kept')")
            self.look(browser, "kept")
            browser.run("document.querySelector('details.notes').open = true")
            browser.type("#site", "arm <b>left</b>")
            browser.click("form[action$=notes] button")
            browser.wait("location.search.includes('notes_saved')")
            self.assertEqual(browser.run("return document.getElementById('site').value"), "arm <b>left</b>")
            self.choose(browser)
            browser.run("document.querySelector('[name=keep]').checked = true")
            self.send(browser)
            browser.open(self.home + "/profile/")
            self.look(browser, "profile")
            self.assertEqual(len(browser.all("[name=pick]")), 2)
            browser.run("document.querySelectorAll('[name=pick]').forEach(b => b.click())")
            browser.click("#compare-do")
            browser.wait("location.pathname == '/profile/compare/'")
            self.assertEqual(browser.run("return [...document.images].filter(i => i.naturalWidth == 0 && i.offsetParent).length"), 0)
            self.look(browser, "compare")
            browser.open(self.home + "/about/")
            self.look(browser, "about")
            browser.open(self.home + "/logout")
            self.look(browser, "logout")
            browser.click("form button")
            browser.wait("location.search.includes('logged_out')")
            browser.open(self.home + "/profile/")
            browser.wait("location.pathname == '/login/'")
            browser.wait("document.readyState == 'complete' && document.getElementById('name')")
            for _ in range(6):
                browser.run("document.getElementById('name').value = ''")
                browser.type("#name", name)
                browser.type("#password", "not the right one")
                browser.run("window.before = true")
                browser.click("form button.main")
                browser.wait("!window.before && document.readyState == 'complete' && document.getElementById('problem')")
            self.assertRegex(browser.text("#problem"), r"\d")  # how many seconds to wait
            self.look(browser, "login-locked")
            browser.open(self.home + "/nothing")
            self.look(browser, "404")
            self.assertEqual(browser.complaints(), [])
        finally:
            browser.close()

    def test_vi_360(self):
        self.whole_job("vi", 360)

    def test_en_360(self):
        self.whole_job("en", 360)

    def test_vi_1280(self):
        self.whole_job("vi", 1280)

    def test_en_1280(self):
        self.whole_job("en", 1280)

    def test_camera(self):
        for width in (360, 1280):
            browser = Browser("vi", width)
            browser.language, browser.label = "vi", f"camera-{width}"
            try:
                browser.open(self.home + "/")
                browser.click("#take")
                browser.wait("document.querySelector('video') && document.querySelector('video').videoWidth > 0")
                browser.shot(self.shots / f"camera-{width}.png")
                browser.wait("document.querySelector('dialog[open] .main, dialog[open] button.main')")
                browser.click("dialog[open] .main")
                browser.wait("!document.getElementById('edit').hidden && document.getElementById('picture').naturalWidth > 0")
                self.assertEqual(browser.run("const v = document.querySelector('video'); return v && v.srcObject ? "
                                             "v.srcObject.getTracks().filter(t => t.readyState == 'live').length : 0"), 0)
                self.send(browser)
                self.assertEqual(browser.complaints(), [])
            finally:
                browser.close()

    def test_no_picture_is_said_on_the_page(self):
        browser = Browser("en", 360)
        browser.language, browser.label = "en", "bad"
        bad = self.shots / "no-picture.heic"
        bad.write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
        try:
            browser.open(self.home + "/")
            browser.type("#image", str(bad))
            browser.wait("!document.getElementById('problem').hidden")
            self.assertIn("HEIC", browser.text("#problem"))
            self.look(browser, "heic")
        finally:
            browser.close()


if __name__ == "__main__":
    if not there():
        print("skipped: chromium and chromium-driver are not installed")
        sys.exit(77)
    shutil.rmtree(BUILD / "screenshots", ignore_errors=True)
    unittest.main(argv=sys.argv[:1])
