"""Chromium by the WebDriver protocol, with the standard library alone."""
import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def there():
    return bool((shutil.which("chromium") or shutil.which("google-chrome")) and shutil.which("chromedriver"))


class Browser:
    """One window. width, height: of the page in CSS pixels."""

    def __init__(self, language="en", width=1280, height=900, script=True):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.folder.name}",
                     "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--lang={language}",
                     f"--accept-lang={language}", "--hide-scrollbars", f"--window-size={max(width, 500)},{height}"]
        options = {"args": arguments, "prefs": {"intl.accept_languages": language,
                                                **({} if script else {"profile.managed_default_content_settings.javascript": 2})}}
        if width < 600:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": True}}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                                   "goog:loggingPrefs": {"browser": "ALL"}, "pageLoadStrategy": "normal"}}}
        for _ in range(100):
            try:
                self.session = None
                self.session = self.call("POST", "/session", wanted)["sessionId"]
                break
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.1)

    def call(self, method, path, body=None):
        base = f"http://127.0.0.1:{self.port}" + (f"/session/{self.session}" if self.session else "")
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as fault:
            raise RuntimeError(json.load(fault)["value"]["message"].split("\n")[0]) from None

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def url(self):
        return self.call("GET", "/url")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def all(self, css):
        return [e[ELEMENT] for e in self.call("POST", "/elements", {"using": "css selector", "value": css})]

    def click(self, css):
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", css)
        self.call("POST", f"/element/{self.find(css)}/click")

    def type(self, css, text):
        self.call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def text(self, css="body"):
        return self.call("GET", f"/element/{self.find(css)}/text")

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

    def shot(self, path):
        height = self.run("return document.documentElement.scrollHeight")
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": self.run("return innerWidth"), "height": height, "deviceScaleFactor": 1, "mobile": False}})
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})

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
