"""Every page for every reader: narrow and wide, light and dark, both languages, by keyboard, on paper, when things go wrong.

Usage: test_look.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import json
import re
import shutil
import tempfile
import time
from pathlib import Path

from base import AUDIT, BUILD, PASSWORD, PHOTO, SHOTS, SOURCE, Pages, Service, main

OTHER = PHOTO.with_name("PAT_842_1606_971.jpg")
TEXTS = {language: json.loads((SOURCE / "web" / "texts" / f"{language}.json").read_text(encoding="utf-8")) for language in ("en", "vi")}
# What a reader sees or hears of a page, a text each.
SEEN = """const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) { if (walker.currentNode.parentElement.checkVisibility()) found.push(walker.currentNode.data.trim()); }
    document.querySelectorAll('[aria-label], [alt], [title]').forEach((n) => ['aria-label', 'alt', 'title'].forEach((k) => found.push((n.getAttribute(k) || '').trim())));
    return [document.title, ...found].filter((t) => t.length > 1);"""
SAME = re.compile(r"dermis( [\d.]+)?|VI|EN|English|Tiếng Việt|Menu|[\W\d]+|melanoma|SHA-256|reader|dermis_lite0|CC-BY-4.0|.*PAD-UFES.*|[0-9a-f]{12} …|"
                  r"(GET|POST) /\S*|[\d,.]+ (MB|ms|min)|p50 .* ms|left arm|spring|it itches", re.IGNORECASE)
FOCUS = """const n = document.activeElement, s = getComputedStyle(n), b = n.getBoundingClientRect();
    return {id: n.id || n.getAttribute('name') || n.textContent.trim(), tag: n.tagName, top: b.top + scrollY, style: s.outlineStyle, width: parseFloat(s.outlineWidth),
        seen: b.bottom > 0 && b.top < innerHeight && b.right > 0 && b.left < innerWidth};"""


class Look(Pages):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made = cls.service.user("add", "reader", "--operator", password=PASSWORD + "\n")
        assert made.returncode == 0, made.stderr
        client = cls.service.client()
        client.log_in("reader")
        cls.client = client
        cls.results = [client.upload(photo.read_bytes(), [("keep", "1"), ("crop", crop)]).headers["Location"]
                       for photo, crop in ((PHOTO, ""), (OTHER, "1,7,136,136"), (PHOTO, "121,99,118,118"))]  # clear, between two, unsure
        client.form(cls.results[0] + "notes", {"site": "left arm", "since": "spring", "age": "40", "symptoms": "it itches"}, cls.results[0])
        cls.guest = cls.service.client().upload(PHOTO.read_bytes()).headers["Location"]
        cls.short = Service(BUILD, "--rate-limit", 1, "--retention", 60).__enter__()  # keeps little, allows little
        cls.addClassCleanup(cls.short.__exit__, None, None, None)
        cls.expiring = cls.short.client().upload(PHOTO.read_bytes()).headers["Location"]
        cls.since = time.monotonic()

    # ---- fitness of every page ----

    def views(self, browser, name, seen):
        """One page as it stands, all of it unfolded, narrow and wide; the English one by night, the Vietnamese one by day."""
        browser.run("document.querySelectorAll('main details').forEach((d) => { d.open = true; })")
        seen.setdefault(name, set()).update(browser.run(SEEN))
        scheme = "dark" if browser.language == "en" else "light"
        browser.media(prefers_color_scheme=scheme)
        for width, letters in ((320, 100), (360, 130), (1280, 100), (1280, 200)):  # per cent of what the reader's browser begins with
            browser.resize(width)
            browser.run("document.documentElement.style.fontSize = arguments[0] + '%'", letters)
            self.fit(browser, f"{name} {scheme} {letters}")
            if letters == 100:
                browser.shot(SHOTS / f"all-{name}-{browser.language}-{width}-{scheme}.png")

    def every_page(self, language):
        browser, seen = self.browser(language, 360), {}
        for name, path in (("home", "/"), ("about", "/about/"), ("login", "/login/"), ("signup", "/signup/"), ("logged-out", "/logout"),
                           ("404", "/nothing"), ("guest", self.guest)):
            browser.open(self.home + path)
            self.views(browser, name, seen)
        browser.resize(360)
        self.choose(browser)
        browser.wait("document.querySelector('#advice li')")
        self.views(browser, "preview", seen)
        self.log_in(browser, "reader")
        ids = [url.split("/")[2] for url in self.results]
        for name, path in (("home-user", "/"), ("result", self.results[0]), ("between", self.results[1]), ("unsure", self.results[2]),
                           ("profile", "/profile/"),
                           ("found-none", "/profile/?text=nowhere"), ("logout", "/logout"),
                           ("compare", f"/profile/compare/?a={ids[0]}&b={ids[1]}"), ("status", "/status/")):
            browser.open(self.home + path)
            if name == "status":
                browser.wait("document.querySelector('#memory path') && document.querySelector('#requests tr')")
            self.views(browser, name, seen)
        return seen

    def test_every_page(self):
        seen = {language: self.every_page(language) for language in ("en", "vi")}
        for name, texts in seen["en"].items():
            both = {text for text in texts & seen["vi"][name] if not SAME.fullmatch(text)}
            self.assertEqual(both, set(), f"{name}: not translated")

    def test_faults_are_found(self):
        """The measuring itself: what is made wrong on a good page is named."""
        browser = self.browser("en", 360)
        for fault, script in (
                ("text contrast", "document.querySelector('.lead').style.color = '#999'"),
                ("text contrast", "document.querySelector('.lead').style.opacity = 0.5"),
                ("no name", "document.querySelector('label[for=name]').remove()"),
                ("no alt", "document.querySelector('main').append(document.createElement('img'))"),
                ("a level is skipped", "document.querySelector('main').append(Object.assign(document.createElement('h3'), {textContent: 'x'}))"),
                ("target of", "document.querySelector('form .button').style.minHeight = '20px'"),
                ("sideways", "document.querySelector('h1').style.width = '400px'"),
                ("cut or overflowing", "document.querySelector('h1').style.cssText = 'width: 40px; white-space: nowrap; overflow: hidden'"),
                ("edge contrast", "document.getElementById('name').style.borderColor = '#ddd'"),
                ("left-over", "document.querySelector('h1').textContent = '{count} kinds'")):
            browser.open(self.home + ("/" if "lead" in script else "/login/"))
            self.fit(browser, "before")
            browser.run(script)
            found = browser.run("return (function () { %s }).call(null, {targets: true})" % AUDIT)
            self.assertTrue([f for f in found if f.startswith(fault)], f"{fault}: {found}")

    # ---- languages, and what the policy forbids ----

    def test_language_switch(self):
        browser = self.browser("vi", 360)
        browser.open(self.home + self.guest)
        browser.follow(".languages a[hreflang=en]")
        self.assertEqual((browser.path(), browser.run("return document.documentElement.lang")), (self.guest, "en"))
        browser.open(self.home + "/about/")  # it is remembered
        self.assertEqual(browser.text("h1"), TEXTS["en"]["about"]["title"])
        browser.follow(".languages a[hreflang=vi]")
        self.assertEqual(browser.text("h1"), TEXTS["vi"]["about"]["title"])

    def test_inline_scripts_do_not_run(self):
        browser = self.browser()
        for path in ("/", self.guest, "/login/"):
            browser.open(self.home + path)
            browser.run("""document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}));
                document.body.insertAdjacentHTML('beforeend', '<p style="color: #123456" id="evil">x</p><img src="/nothing" onerror="window.ran = 2">');""")
            browser.wait("document.images[document.images.length - 1].complete")
            self.assertEqual(browser.run("return [window.ran || 0, getComputedStyle(document.getElementById('evil')).color === 'rgb(18, 52, 86)']"), [0, False])
            self.assertGreaterEqual(len([c for c in browser.complaints() if "Content Security Policy" in c]), 3)

    # ---- keyboard ----

    def tab(self, browser, wanted, order, most=40):
        """Tab until `wanted` has the focus; on the way each place is seen, and further down than the last."""
        for _ in range(most):
            browser.press("Tab")
            at = browser.run(FOCUS)
            self.assertTrue(at["style"] != "none" and at["width"] >= 2, f"focus is not seen on {at}")
            self.assertTrue(at["seen"], f"focus is outside of the window on {at}")
            if order and at["tag"] != "BODY":
                self.assertGreater(at["top"], order[-1]["top"] - 60, f"{at} after {order[-1]}")
            order.append(at)
            if at["id"] == wanted:
                return at
        self.fail(f"{wanted} is not reached: {[o['id'] for o in order]}")

    def test_keyboard_alone(self):
        browser = self.browser("en", 1280)
        browser.resize(360, 800)
        browser.open(self.home + "/")
        order = []
        browser.press("Tab")
        self.assertTrue(browser.run("const b = document.activeElement.getBoundingClientRect(); return document.activeElement.matches('.skip') && b.left >= 0"))
        self.tab(browser, "choose", order)
        browser.events()
        browser.cdp("Page.setInterceptFileChooserDialog", enabled=True)
        browser.press("Enter")
        asked = browser.wait(lambda: [e["params"]["backendNodeId"] for e in browser.events() if e["method"] == "Page.fileChooserOpened"])
        browser.cdp("DOM.setFileInputFiles", backendNodeId=asked[0], files=[str(PHOTO)])
        self.previewed(browser)
        self.assertEqual(browser.run("return document.activeElement.tagName"), "H1")  # read out first
        order = []
        self.tab(browser, "square", order)
        before = browser.run("return document.getElementById('square').style.cssText")
        browser.press("-", "-", "Shift+ArrowRight", "ArrowUp")
        self.assertNotEqual(browser.run("return document.getElementById('square').style.cssText"), before)
        browser.wait("document.getElementById('square-said').textContent.includes('%')")
        self.tab(browser, "smaller", order)
        browser.press("Space")
        self.tab(browser, "size", order)
        browser.press("ArrowRight")
        self.tab(browser, "whole", order)
        browser.press("Space")
        self.assertTrue(browser.run("return document.getElementById('square').hidden"))
        browser.press("Space")
        self.tab(browser, "look", order)
        browser.press("Enter")
        self.arrived(browser)

        browser.press("Tab")
        browser.press("Enter")  # past the header
        order = []
        self.tab(browser, "alpha", order)
        browser.press("ArrowRight", "ArrowRight")
        self.assertEqual(browser.run("return getComputedStyle(document.getElementById('heat')).opacity"), "0.6")
        browser.press("Tab")
        self.assertEqual(browser.run("return document.activeElement.tagName"), "SUMMARY")
        browser.press("Space")
        self.assertTrue(browser.run("return document.querySelector('.others').open"))
        self.tab(browser, "class", order)
        heat = browser.run("return document.getElementById('heat').src")
        browser.press("ArrowDown")
        browser.wait(lambda: browser.run("return document.getElementById('heat').src") != heat)
        browser.wait("document.getElementById('heat-said').textContent")
        self.tab(browser, "New picture", order)
        browser.press("Enter")
        browser.wait("location.pathname == '/'")

    def test_menu_and_dialog_by_keyboard(self):
        browser = self.browser("vi", 1280)
        browser.resize(360, 800)
        browser.open(self.home + "/about/")
        self.tab(browser, TEXTS["vi"]["common"]["menu"], [])
        browser.press("Enter")
        browser.press("Tab")
        self.assertEqual(browser.run("return document.activeElement.textContent"), TEXTS["vi"]["common"]["new_picture"])
        browser.press("Enter")
        browser.wait("location.pathname == '/'")
        self.tab(browser, "take", [])
        browser.press("Enter")
        browser.wait("document.activeElement.id == 'shoot'")
        browser.press("Escape")
        browser.wait("!document.getElementById('camera').open && document.activeElement.id == 'take'")

    # ---- what a reader asks for ----

    def test_motion(self):
        browser = self.browser()
        browser.open(self.home + "/")
        ask = "const s = getComputedStyle(document.querySelector('.spinner')); return [s.animationTimingFunction, s.animationDelay]"
        self.assertEqual(browser.run(ask), ["linear", "0.3s"])
        browser.media(prefers_reduced_motion="reduce")
        self.assertEqual(browser.run(ask)[0], "steps(4)")
        moving = browser.run("""return [...document.querySelectorAll('*')].filter((n) => { const s = getComputedStyle(n);
            return s.transitionDuration !== '0s' || s.scrollBehavior === 'smooth'; }).length""")
        self.assertEqual(moving, 0)

    def test_connection_lost(self):
        browser = self.browser("vi", 360)
        self.choose(browser)
        browser.network(offline=True)
        browser.click("#look")
        browser.wait("!document.getElementById('problem').hidden")
        self.assertEqual(browser.text("#problem"), TEXTS["vi"]["home"]["offline"])
        self.assertTrue(browser.run("return document.getElementById('picture').checkVisibility() && !document.getElementById('look').disabled"))
        browser.shot(SHOTS / "offline-vi-360.png")
        browser.network()
        self.send(browser)

    def test_waiting_is_seen(self):
        browser = self.browser("vi", 360)
        browser.resize(360, 560)  # a small phone, with the button at its lower edge
        self.choose(browser)
        browser.wait("document.querySelector('#advice li')")
        browser.network(latency=1500)
        browser.run("document.getElementById('another').scrollIntoView({block: 'end', behavior: 'instant'}); document.getElementById('look').click()")
        browser.wait("document.getElementById('wait').checkVisibility()", 2)
        self.assertIn(browser.text("#wait-text"), (TEXTS["vi"]["home"]["sending"], TEXTS["vi"]["home"]["looking"]))
        self.assertTrue(browser.run("return document.getElementById('problem').hidden && document.getElementById('wait').getBoundingClientRect().bottom <= innerHeight"))
        self.assertEqual(browser.run("return [...document.querySelectorAll('#edit input, #edit button, #actions button')].filter((n) => !n.disabled).map((n) => n.id)"), [])
        browser.shot(SHOTS / "waiting-vi-360.png")
        browser.network()
        self.arrived(browser)

    # ---- paper ----

    def printed(self, browser, name):
        pdf = base64.b64decode(browser.cdp("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"])
        (SHOTS / f"{name}.pdf").write_bytes(pdf)
        self.assertEqual(len(re.findall(rb"/Type\s*/Page\b", pdf)), 1, f"{name}: pages")
        box = [float(v) for v in re.search(rb"/MediaBox\s*\[([^\]]+)\]", pdf).group(1).split()]
        self.assertAlmostEqual(box[2], 595.3, delta=1.5)  # A4 in points
        self.assertAlmostEqual(box[3], 841.9, delta=1.5)
        return len(re.findall(rb"/Subtype\s*/Image", pdf))

    def test_report(self):
        long = {"site": "left arm, inside, " * 11, "since": "spring " * 28, "age": "40", "symptoms": "it itches in the evening; " * 38,
                "medicines": "aspirin, " * 110}
        full = self.client.upload(OTHER.read_bytes(), [("keep", "1"), ("crop", "1,7,136,136")]).headers["Location"]
        self.assertEqual(self.client.form(full + "notes", long, full).status, 303)
        for language in ("vi", "en"):
            browser = self.browser(language)
            self.log_in(browser, "reader")
            for name, url in (("short", self.results[0]), ("unsure", self.results[2]), ("long", full)):
                browser.open(self.home + url)
                self.arrived(browser)
                self.assertGreaterEqual(self.printed(browser, f"report-{name}-{language}"), 2)  # photograph, and with the map
            browser.cdp("Emulation.setEmulatedMedia", media="print")
            seen = browser.text("main")
            self.assertIn(TEXTS[language]["server"]["report_title"], seen)
            self.assertIn("it itches in the evening", seen)
            self.assertNotIn(TEXTS[language]["result"]["delete_do"], seen)

    # ---- errors ----

    def submit(self, browser, path, fields, file=None):
        """A form as a page without script would send it; file: (name, size)."""
        browser.run("""const [path, fields, file] = arguments, form = document.createElement('form');
            window.before = true;
            form.method = 'post'; form.action = path; form.enctype = file || fields.image ? 'multipart/form-data' : 'application/x-www-form-urlencoded';
            Object.entries(fields).forEach(([name, value]) => form.append(Object.assign(document.createElement('input'), {name, value})));
            if (file) {
                const moved = new DataTransfer(), input = Object.assign(document.createElement('input'), {type: 'file', name: 'image'});
                moved.items.add(new File([new Uint8Array(file[1]).fill(65)], file[0]));
                input.files = moved.files;
                form.append(input);
            }
            document.body.append(form);
            form.submit();""", path, fields, file)
        browser.wait("!window.before && document.readyState == 'complete'")

    def error(self, browser, status, reason=None):
        texts = TEXTS[browser.language]
        self.assertEqual(browser.run("return performance.getEntriesByType('navigation')[0].responseStatus"), status)
        self.assertEqual(browser.text(".code"), str(status))
        self.assertEqual(browser.text("h1").lower(), (reason or texts["error"][f"s{status}"]["reason"]).lower())
        self.assertTrue(browser.text(".lead"))
        self.look(browser, f"error-{status}")

    def test_errors(self):
        for language, width in (("vi", 360), ("en", 1280)):
            browser = self.browser(language, width)
            browser.open(self.home + "/")
            csrf = browser.run("return document.querySelector('[name=csrf]').value")
            browser.open(self.home + "/nothing")
            self.error(browser, 404)
            browser.open(self.home + "/upload/")
            self.error(browser, 405)
            browser.open(self.home + self.guest + "heat.png?class=99")
            self.error(browser, 400)
            self.submit(browser, "/upload/", {"csrf": csrf}, ("letter.txt", 5000))
            self.error(browser, 415)
            self.submit(browser, "/upload/", {"csrf": csrf}, ("large.jpg", 7 << 20))  # refused while it still sends
            self.error(browser, 413)
            self.submit(browser, "/logout", {"csrf": "A" * len(csrf)})
            self.error(browser, 403)
            self.log_in(browser, "reader")
            self.submit(browser, "/profile/delete", {"csrf": csrf, "id": self.results[0].split("/")[2]})  # replayed: the guest's of before
            self.error(browser, 403)
            browser.open(self.home + self.results[0])
            self.arrived(browser)  # nothing happened to it

    def test_no_model(self):
        """The model's file is gone when it is first needed: said on the page, with or without script, and the picture stays."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        model = Path(folder.name) / "model.gguf"
        shutil.copy(next((SOURCE / "models").glob("*.gguf")), model)
        service = Service(BUILD, "-m", model).__enter__()
        self.addCleanup(service.__exit__, None, None, None)
        model.unlink()
        self.home = f"http://127.0.0.1:{service.port}"
        browser = self.browser("vi", 360)
        self.choose(browser)
        browser.click("#look")
        browser.wait("!document.getElementById('problem').hidden")
        self.assertEqual(browser.text("#problem"), TEXTS["vi"]["server"]["no_model"])
        self.assertTrue(browser.run("return document.getElementById('picture').checkVisibility()"))
        csrf = browser.run("return document.querySelector('[name=csrf]').value")
        self.submit(browser, "/upload/", {"csrf": csrf, "image": "data:image/jpeg;base64," + base64.b64encode(PHOTO.read_bytes()).decode()})
        self.error(browser, 503)
        program = service.client()
        answer = program.ask("POST", "/api/v1/predict", PHOTO.read_bytes(), {"Content-Type": "image/jpeg"})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (503, "no-model"))
        self.assertEqual(program.get("/health/ready").status, 503)

    def test_too_many(self):
        self.home = f"http://127.0.0.1:{self.short.port}"
        browser = self.browser("en", 360)
        browser.open(self.home + "/")
        csrf = browser.run("return document.querySelector('[name=csrf]').value")
        for _ in range(3):
            self.submit(browser, "/upload/", {"csrf": csrf}, ("letter.txt", 5000))
        self.error(browser, 429)

    def test_zz_expired(self):
        """The last: a guest's result of the beginning is gone after its minute, page, pictures and files."""
        self.home = f"http://127.0.0.1:{self.short.port}"
        browser = self.browser("vi", 360)
        time.sleep(max(0.0, 61 - (time.monotonic() - self.since)))
        browser.open(self.home + self.expiring)
        self.error(browser, 404)
        self.assertEqual(self.short.client().get(self.expiring + "photo.jpg").status, 404)
        self.assertTrue(self.short.wait(lambda: not [p for p in self.short.data.rglob("*") if p.is_file() and p.read_bytes()[:2] == b"\xff\xd8"], 40))

    # ---- the operator's page ----

    def test_status(self):
        browser = self.browser("vi", 360)
        self.log_in(browser, "reader")
        browser.open(self.home + "/status/")
        line = "return document.querySelector('#memory .rss') && document.querySelector('#memory .rss').getAttribute('d')"
        first = browser.wait(lambda: browser.run(line))
        self.assertEqual(self.service.client().upload(PHOTO.read_bytes()).status, 303)
        browser.wait(lambda: browser.run(line) != first)  # it lives
        self.assertIn("L", browser.run(line))  # and is a line
        self.assertGreater(browser.run("return document.querySelector('#memory .rss').getBoundingClientRect().width"), 5)
        browser.wait("[...document.querySelectorAll('#requests td')].some((n) => n.textContent == 'POST /upload/')")
        self.assertRegex(browser.text("#numbers"), r"\d,\d MB")
        self.assertGreater(len(browser.all("#latency rect")), 0)
        self.look(browser, "status")


if __name__ == "__main__":
    main()
