"""The whole job in real Chromium: 360 and 1280 pixels, Vietnamese and English. Screenshots go to BUILD_ROOT/screenshots/.

Usage: test_job.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import re

from base import PASSWORD, SHOTS, Pages, main


class Job(Pages):
    def choose(self, browser, **more):
        super().choose(browser, **more)
        self.look(browser, "preview")

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
        browser = self.browser(language, width)
        name = f"reader {language} {width}"
        browser.open(self.home + "/")
        self.look(browser, "home")
        self.choose(browser)
        browser.run("document.getElementById('square').focus()")
        browser.press("-", "-", "-", "ArrowRight")
        result = self.send(browser)
        self.result(browser)
        browser.follow(".after a.main")  # "log in and keep it"
        self.look(browser, "login")
        browser.follow("main a[href^='/signup/']")
        self.look(browser, "signup")
        browser.type("#name", name)
        browser.type("#password", PASSWORD)
        browser.type("#again", PASSWORD)
        browser.follow("form button.main")
        self.assertEqual(browser.path(), result)
        browser.follow("form[action$=keep] button")
        self.assertIn("kept", browser.path())
        browser.run("document.querySelector('details.notes').open = true")
        browser.type("#site", "arm <b>left</b>")
        self.look(browser, "kept")
        browser.follow("form[action$=notes] button")
        self.assertIn("notes_saved", browser.path())
        self.assertEqual(browser.run("return document.getElementById('site').value"), "arm <b>left</b>")
        self.choose(browser)
        browser.run("document.querySelector('[name=keep]').checked = true")
        self.send(browser)
        browser.open(self.home + "/profile/")
        self.look(browser, "profile")
        self.assertEqual(len(browser.all("[name=pick]")), 2)
        browser.run("document.querySelectorAll('[name=pick]').forEach(b => b.click())")
        browser.follow("#compare-do")
        self.assertTrue(browser.path().startswith("/profile/compare/"))
        browser.run("document.getElementById('show-heat').click()")
        browser.wait("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        self.look(browser, "compare")
        browser.open(self.home + "/about/")
        self.look(browser, "about")
        browser.open(self.home + "/logout")
        self.look(browser, "logout")
        browser.follow("main form button")
        self.assertIn("logged_out", browser.path())
        browser.open(self.home + "/profile/")
        self.assertTrue(browser.path().startswith("/login/"))
        for _ in range(6):
            browser.fill("#name", name)
            browser.type("#password", "not the right one")
            browser.follow("form button.main")
            browser.find("#problem")
        self.assertRegex(browser.text("#problem"), r"\d")  # how many seconds to wait
        self.look(browser, "login-locked")

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
            browser = self.browser("vi", width)
            browser.open(self.home + "/")
            browser.click("#take")
            browser.wait("document.querySelector('video').videoWidth > 0 && !document.getElementById('shoot').disabled")
            self.fit(browser, "camera")
            live = "return document.querySelector('video').srcObject.getVideoTracks()[0].label"
            back = browser.run(live)
            browser.wait("!document.getElementById('facing').hidden")
            browser.click("#facing label:last-of-type")  # the other camera
            browser.wait("document.querySelector('video').srcObject && !document.getElementById('shoot').disabled")
            self.assertNotEqual(browser.run(live), back)
            (SHOTS / f"camera-vi-{width}.png").write_bytes(base64.b64decode(browser.call("GET", "/screenshot")))
            browser.click("#shoot")
            self.previewed(browser)
            self.assertEqual(browser.run("const v = document.querySelector('video'); return v && v.srcObject ? "
                                         "v.srcObject.getTracks().filter(t => t.readyState == 'live').length : 0"), 0)
            self.send(browser)

    def test_times_are_the_readers(self):
        for language, shown in (("en", r"^\d+ \w+ \d{4}, (\d\d):(\d\d) GMT\+7$"), ("vi", r"^(\d\d):(\d\d) GMT\+7,? \d+/\d+/\d{4}$")):
            browser = self.browser(language, 360)
            browser.cdp("Emulation.setTimezoneOverride", timezoneId="Asia/Ho_Chi_Minh")
            browser.open(self.home + "/")
            self.choose(browser)
            self.send(browser)
            times = browser.run("return [...document.querySelectorAll('time')].map(t => [t.dateTime, t.textContent])")
            self.assertEqual(len(times), 3)
            for utc, text in times:
                found = re.search(shown, text)
                self.assertTrue(found, text)
                self.assertEqual((int(utc[11:13]) + 7) % 24, int(found.group(1)))
                self.assertEqual(utc[14:16], found.group(2))

    def test_no_picture_is_said_on_the_page(self):
        browser = self.browser("en", 360)
        browser.open(self.home + "/")
        self.give(browser, b"\0\0\0\x18ftypheic" + bytes(200), "IMG_0001.HEIC", "image/heic")
        browser.wait("!document.getElementById('problem').hidden")
        self.assertIn("HEIC", browser.text("#problem"))
        self.look(browser, "heic")


if __name__ == "__main__":
    main()
