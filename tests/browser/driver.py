"""Chromium by the WebDriver protocol, with the standard library alone."""
import base64
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Shift": "\ue008", "Control": "\ue009", "ArrowLeft": "\ue012",
        "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Space": " "}


def there():
    return bool((shutil.which("chromium") or shutil.which("google-chrome")) and shutil.which("chromedriver"))


class Browser:
    """One window of a profile of its own. width, height: of the page in CSS pixels; below 600 a phone with a touch screen."""

    def __init__(self, language="en", width=1280, height=900):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.language, self.width = language, width
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.downloads = Path(self.folder.name) / "downloads"
        self.process = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     f"--user-data-dir={self.folder.name}/profile", "--use-fake-device-for-media-stream=device-count=2",
                     "--use-fake-ui-for-media-stream", f"--lang={language}", f"--accept-lang={language}", "--hide-scrollbars",
                     f"--window-size={max(width, 500)},{height}"]
        options = {"args": arguments, "prefs": {"intl.accept_languages": language, "download.default_directory": str(self.downloads),
                                                "session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]}}
        if width < 600:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": True}}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "pageLoadStrategy": "normal",
                                                   "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}}
        self.asked = []  # every address that was asked for, with the browser's own word on it
        for _ in range(100):
            try:
                self.session = None
                self.session = self.call("POST", "/session", wanted)["sessionId"]
                break
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, path, body=None):
        base = f"http://127.0.0.1:{self.port}" + (f"/session/{self.session}" if self.session else "")
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as fault:
            raise RuntimeError(json.load(fault)["value"]["message"].split("\n")[0]) from None

    def cdp(self, command, **parameters):
        """A command of Chromium's own protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def back(self):
        self.call("POST", "/back")

    def url(self):
        return self.call("GET", "/url")

    def path(self):
        return re.sub(r"^\w+://[^/]+", "", self.url())

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def scripts_off(self):
        """From the next page on its scripts do not run; `run` and all that stands on it do not work either, `evaluate` does."""
        self.cdp("Emulation.setScriptExecutionDisabled", value=True)

    def evaluate(self, expression):
        answer = self.cdp("Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def all(self, css):
        return [e[ELEMENT] for e in self.call("POST", "/elements", {"using": "css selector", "value": css})]

    def show(self, css):
        """Brings it into view and waits until it rests: a phone still scrolls to the field that was typed into."""
        place, before = None, ()
        while place != before:
            before = place
            place = self.run("""const n = document.querySelector(arguments[0]);
                n.scrollIntoView({block: 'center', behavior: 'instant'});
                const b = n.getBoundingClientRect(), v = visualViewport;
                return [b.left, b.top, v.offsetLeft, v.offsetTop, v.scale];""", css)

    def click(self, css):
        self.show(css)
        self.call("POST", f"/element/{self.find(css)}/click")

    def follow(self, css):
        """A click that leads to another page, which is waited for."""
        self.run("window.before = true")
        self.click(css)
        self.wait("!window.before && document.readyState == 'complete'")

    def type(self, css, text):
        self.call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def fill(self, css, text):
        self.run("document.querySelector(arguments[0]).value = ''", css)
        self.type(css, text)

    def text(self, css="body"):
        return self.call("GET", f"/element/{self.find(css)}/text")

    def press(self, *keys):
        """Keys of KEYS or characters, to whatever has the focus; "Shift+Tab" holds Shift."""
        actions = []
        for key in keys:
            held = [KEYS[k] for k in key.split("+")[:-1]] if len(key) > 1 else []
            last = key.split("+")[-1] if len(key) > 1 else key
            last = KEYS.get(last, last)
            actions += [{"type": "keyDown", "value": k} for k in (*held, last)]
            actions += [{"type": "keyUp", "value": k} for k in (last, *reversed(held))]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def drag(self, kind, *ways, steps=6):
        """One pointer ("mouse", or "touch") for each way, all at once; a way: ((x, y), (x, y)) in pixels of the window."""
        sources = []
        for number, (start, end) in enumerate(ways):
            moves = [{"type": "pointerMove", "duration": 0, "x": round(start[0]), "y": round(start[1])},
                     {"type": "pointerDown", "button": 0}]
            for step in range(1, steps + 1):
                x, y = (start[i] + (end[i] - start[i]) * step / steps for i in (0, 1))
                moves.append({"type": "pointerMove", "duration": 16, "x": round(x), "y": round(y)})
            sources.append({"type": "pointer", "id": f"{kind}{number}", "parameters": {"pointerType": kind},
                            "actions": [*moves, {"type": "pointerUp", "button": 0}]})
        self.call("POST", "/actions", {"actions": sources})
        self.call("DELETE", "/actions")

    def wait(self, condition, seconds=15):
        """condition: a function, or JavaScript that returns a value."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                value = condition() if callable(condition) else self.run("return " + condition)
            except RuntimeError:
                value = None
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never: {condition} at {self.url()}\n{self.text()[:500]}")

    def media(self, **features):
        """What the reader asks for: prefers_color_scheme="dark", prefers_reduced_motion="reduce"."""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": name.replace("_", "-"), "value": value}
                                                         for name, value in features.items()])

    def resize(self, width, height=900):
        self.width = width
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def shot(self, path):
        """The whole page, however long."""
        size = self.run("return [innerWidth, innerHeight, document.documentElement.scrollHeight]")
        self.cdp("Emulation.setDeviceMetricsOverride", width=size[0], height=max(size[1:]), deviceScaleFactor=1, mobile=size[0] < 600)
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))
        self.resize(*size[:2])

    def network(self, offline=False, latency=0):
        """latency: milliseconds that everything takes longer."""
        self.call("POST", "/chromium/network_conditions", {"network_conditions": {"offline": offline, "latency": latency, "throughput": 1 << 30}})

    def events(self):
        """Chromium's own events since the last call; whatever was asked of the network goes to `asked`."""
        found = [json.loads(entry["message"])["message"] for entry in self.call("POST", "/se/log", {"type": "performance"})]
        self.asked += [e["params"]["request"]["url"] for e in found if e["method"] == "Network.requestWillBeSent"]
        return found

    def complaints(self):
        """What the console said, but for pages that are errors on purpose and Chromium's hints on forms."""
        return [e["message"] for e in self.call("POST", "/se/log", {"type": "browser"})
                if "Failed to load resource" not in e["message"] and "[DOM]" not in e["message"]]

    def close(self):
        try:
            self.call("DELETE", "")
        except (RuntimeError, OSError):
            pass
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()
