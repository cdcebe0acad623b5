"""Who sees what and for how long: sharing, export, deletion, passwords, tokens; without scripts.

Usage: test_access.py BUILD_ROOT SOURCE_ROOT
"""
import io
import json
import time
import zipfile

from base import PASSWORD, PHOTO, SHOTS, Pages, main

NOTES = (("site", "left arm, <i>inside</i>"), ("medicines", "aspirin & more"))


class Access(Pages):
    def files(self):
        """Every file of the data folder that is a picture."""
        return [path for path in self.service.data.rglob("*") if path.is_file() and path.read_bytes()[:2] in (b"\xff\xd8", b"\x89P")]

    def open_box(self, browser, css):
        """Opens the folded part of a page that holds what `css` names."""
        browser.run("document.querySelector(arguments[0]).closest('details').open = true", css)

    def test_share(self):
        self.account("sharer")
        _, url = self.kept("sharer", *NOTES)
        owner = self.browser("vi", 360)
        self.log_in(owner, "sharer")
        owner.open(self.home + url)
        stranger = self.browser("en", 1280)
        stranger.open(self.home + url)
        self.assertIn("There is nothing here", stranger.text("h1"))
        self.open_box(owner, "form[action$=share]")
        owner.follow("form[action$=share] button")
        self.look(owner, "shared")
        link = owner.run("return document.getElementById('link').value")
        owner.click("#copy")
        owner.wait("document.getElementById('copy').textContent == document.getElementById('copy').dataset.done")
        stranger.open(link)
        self.arrived(stranger)
        self.look(stranger, "shared-to")
        source = stranger.run("return document.documentElement.outerHTML")
        for secret in ("inside", "aspirin", "sharer"):
            self.assertNotIn(secret, source)
        for control in ("form[action$=delete]", "form[action$=share]", "form[action$=keep]", "form[action$=notes]"):
            self.assertEqual(stranger.all(control), [], control)
        self.assertIn("aspirin", owner.run("return document.documentElement.outerHTML"))
        owner.follow("form[action$=share] button")
        self.assertIn("unshared", owner.path())
        stranger.open(link)
        self.assertIn("There is nothing here", stranger.text("h1"))
        self.look(stranger, "404")

    def test_export_and_delete(self):
        self.account("keeper")
        client, first = self.kept("keeper", *NOTES)
        urls = [first] + [client.upload(PHOTO.read_bytes(), [("keep", "1")]).headers["Location"] for _ in range(3)]
        browser = self.browser("en", 360)
        self.log_in(browser, "keeper")
        browser.open(self.home + "/profile/")
        self.open_box(browser, "form[action='/profile/export']")
        browser.click("form[action='/profile/export'] button")
        browser.wait(lambda: [f for f in browser.downloads.glob("*") if f.suffix == ".zip"])
        found = list(browser.downloads.glob("*.zip"))
        archive = zipfile.ZipFile(io.BytesIO(found[0].read_bytes()))
        self.assertIsNone(archive.testzip())
        for url in urls:
            name = url.split("/")[2]
            self.assertEqual(archive.read(f"{name}/photo.jpg")[:2], b"\xff\xd8")
            self.assertEqual(len(json.loads(archive.read(f"{name}/result.json"))["answer"]["predictions"]), 6)
        notes = json.loads(archive.read(f"{first.split('/')[2]}/result.json"))["notes"]
        self.assertEqual({key: text for key, text in notes.items() if text}, dict(NOTES))
        self.assertEqual(json.loads(archive.read("account.json"))["name"], "keeper")

        # one from the list, one from its own page, then all
        self.open_box(browser, f"form[action='/profile/delete'] input[value='{urls[3].split('/')[2]}']")
        browser.run("window.before = true")
        browser.show("details[open] form[action='/profile/delete'] button")
        browser.click("details[open] form[action='/profile/delete'] button")
        browser.wait("!window.before && document.readyState == 'complete'")
        self.assertEqual(len(browser.all(".entry")), 3)
        browser.open(self.home + urls[2])
        self.open_box(browser, "form[action$=delete]")
        browser.follow("form[action$=delete] button")
        self.assertIn("notice=deleted", browser.path())
        browser.open(self.home + urls[2])
        self.assertIn("There is nothing here", browser.text("h1"))
        browser.open(self.home + "/profile/")
        self.assertEqual(len(browser.all(".entry")), 2)
        self.open_box(browser, "#all-password")
        browser.type("#all-password", "not the right one")
        browser.follow("form[action='/profile/delete-all'] button")
        self.assertIn("not your password", browser.text(".problem"))
        self.assertEqual(len(browser.all(".entry")), 2)
        before = len(self.files())
        self.open_box(browser, "#all-password")
        browser.type("#all-password", PASSWORD)
        browser.follow("form[action='/profile/delete-all'] button")
        self.assertEqual(browser.all(".entry"), [])
        self.look(browser, "profile-empty")
        self.assertFalse(browser.run("return document.getElementById('compare-hint').checkVisibility()"))  # of two that are not there
        self.assertLess(len(self.files()), before)
        # the account itself
        self.open_box(browser, "#account-password")
        browser.type("#account-password", PASSWORD)
        browser.follow("form[action='/profile/delete-account'] button")
        self.assertIn("account_deleted", browser.path())
        self.look(browser, "home-deleted")
        self.log_in(browser, "keeper")
        self.assertIn("do not belong together", browser.text("#problem"))
        self.assertNotIn("keeper", self.service.user("list").stdout)

    def test_password_and_everywhere(self):
        self.account("changer")
        here, there = self.browser("en", 360), self.browser("vi", 1280)
        self.log_in(here, "changer")
        self.log_in(there, "changer")
        new = "another long one 7"
        here.open(self.home + "/profile/")
        self.open_box(here, "#now")
        for field, text in (("#now", PASSWORD), ("#new", new), ("#new-again", new)):
            here.type(field, text)
        here.follow("form[action='/profile/password'] button")
        self.assertIn("The password is changed", here.text(".notice"))
        there.open(self.home + "/profile/")
        self.assertTrue(there.path().startswith("/login/"))  # the other one is out, this one is not
        self.log_in(there, "changer")
        self.assertTrue(there.all("#problem"))
        self.log_in(there, "changer", new)
        self.assertEqual(there.path(), "/")
        there.open(self.home + "/logout")
        there.click("[name=everywhere]")
        there.follow("main form button")
        self.assertIn("sessions_ended", there.path())
        here.open(self.home + "/profile/")
        self.assertTrue(here.path().startswith("/login/"))

    def test_token(self):
        self.account("robot")
        browser = self.browser("vi", 360)
        self.log_in(browser, "robot")
        browser.open(self.home + "/profile/")
        self.open_box(browser, "#label")
        browser.type("#label", "phòng khám")
        browser.follow("form[action='/profile/tokens'] button")
        self.look(browser, "token")
        program = self.service.client()
        program.token = browser.run("return document.getElementById('token').value")
        kept = program.ask("POST", "/api/v1/predict?keep=true", PHOTO.read_bytes(), {"Content-Type": "image/jpeg"})
        self.assertEqual(kept.status, 201)
        browser.open(self.home + "/profile/")
        self.assertEqual(browser.all("#token"), [])  # shown once
        self.assertEqual(len(browser.all(f".entry[href='/result/{kept.json()['id']}/']")), 1)
        self.open_box(browser, ".tokens form")
        self.assertIn("dùng lần cuối", browser.text(".tokens"))
        browser.follow(".tokens form button")
        self.assertIn("token_revoked", browser.path())
        self.assertEqual(program.get("/api/v1/results").status, 401)

    def test_without_scripts(self):
        for language, width in (("vi", 360), ("en", 1280)):
            browser = self.browser(language, width)
            browser.scripts_off()
            browser.open(self.home + "/")
            self.assertEqual(browser.evaluate("document.documentElement.className"), "")
            seen = "[...document.querySelectorAll('button, input:not([type=hidden]), select')].filter((n) => n.checkVisibility() && !n.matches('.away')).map((n) => n.id || n.textContent)"
            self.assertEqual(len(browser.evaluate(seen)), 2)  # the file and "Look at it": nothing that does not work
            browser.shot(SHOTS / f"no-script-home-{language}-{width}.png")
            root = browser.cdp("DOM.getDocument")["root"]["nodeId"]
            field = browser.cdp("DOM.querySelector", nodeId=root, selector="#image")["nodeId"]
            browser.cdp("DOM.setFileInputFiles", nodeId=field, files=[str(PHOTO)])
            self.go(browser, "document.querySelector('p.no-js button').click()")
            self.assertTrue(browser.path().startswith("/result/"))
            browser.shot(SHOTS / f"no-script-result-{language}-{width}.png")
            self.assertTrue(browser.evaluate("[...document.querySelectorAll('.frame img')].every((i) => i.naturalWidth > 0)"))
            self.assertTrue(browser.evaluate("document.querySelectorAll('.kind[open]').length >= 1"))
            before = browser.evaluate("document.getElementById('heat').src")
            self.go(browser, "document.getElementById('class').selectedIndex = 3; document.getElementById('alpha').value = 80;"
                             "document.querySelector('#explain button').click()")
            self.assertNotEqual(browser.evaluate("document.getElementById('heat').src"), before)
            self.assertEqual(browser.evaluate("document.getElementById('class').selectedIndex"), 3)
            self.assertEqual(browser.evaluate("getComputedStyle(document.getElementById('heat')).opacity"), "0.8")
            self.assertFalse(browser.evaluate("document.getElementById('print').checkVisibility()"))

    def go(self, browser, expression):
        browser.evaluate("document.body.id = 'before'")
        browser.evaluate(expression)
        until = time.monotonic() + 15
        while browser.evaluate("document.body.id == 'before' || document.readyState != 'complete'"):
            self.assertLess(time.monotonic(), until, browser.url())
            time.sleep(0.05)


if __name__ == "__main__":
    main()
