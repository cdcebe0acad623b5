"""Starts the real server for black-box tests, and speaks HTTP to it as a browser or a program would.

Standard library only. `Service` is a context manager; `Client` keeps cookies and finds forms' tokens.
"""
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path


def multipart(fields, boundary="dermis-test-boundary"):
    """fields: list of (name, value) or (name, filename, type, bytes). Returns (content type, body)."""
    out = b""
    for field in fields:
        if len(field) == 2:
            head, data = f'name="{field[0]}"', str(field[1]).encode()
        else:
            head, data = f'name="{field[0]}"; filename="{field[1]}"\r\nContent-Type: {field[2]}', field[3]
        out += f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", out + f"--{boundary}--\r\n".encode()


def flat_jpeg(width, height, orientation=1):
    """A grey baseline JPEG of that size, chroma halved, turned by its EXIF orientation. In its tables the code of each
    block is two zero bits, so its scan is zero bytes."""
    def segment(marker, data):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
    blocks = -(-width // 16) * -(-height // 16) * 6
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)
    one_code = bytes([1] + [0] * 15) + b"\0"
    return (b"\xff\xd8" + segment(0xe1, exif) + segment(0xdb, b"\0" + bytes([16] * 64)) +
            segment(0xc0, struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x22\0\x02\x11\0\x03\x11\0") +
            segment(0xc4, b"\x00" + one_code) + segment(0xc4, b"\x10" + one_code) +
            segment(0xda, b"\x03\x01\0\x02\0\x03\0\0\x3f\0") + bytes(-(-blocks * 2 // 8)) + b"\xff\xd9")


class Answer:
    def __init__(self, raw):
        self.status, self.headers, self.body = raw.status, raw.headers, raw.read()

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Client:
    def __init__(self, port, language="en"):
        self.port, self.language, self.cookies, self.token = port, language, {}, None

    def ask(self, method, path, body=None, headers=(), timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"Accept-Language": self.language, **dict(headers)}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, body, sent)
        answer = Answer(connection.getresponse())
        connection.close()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def csrf(self, page="/"):
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(page).text)
        return found.group(1) if found else None

    def form(self, path, fields, page="/", headers=()):
        body = urllib.parse.urlencode({"csrf": self.csrf(page), **fields})
        return self.ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **dict(headers)})

    def upload(self, data, fields=(), headers=(), page=None):
        token = [("csrf", self.csrf(page or "/"))] if self.cookies else []
        kind, body = multipart([*token, *fields, ("image", "a.jpg", "image/jpeg", data)])
        return self.ask("POST", "/upload/", body, {"Content-Type": kind, **dict(headers)})

    def sign_up(self, name, password="correct battery 42"):
        return self.form("/signup/", {"name": name, "password": password, "password_again": password}, "/signup/")

    def log_in(self, name, password="correct battery 42", **more):
        return self.form("/login/", {"name": name, "password": password, **more}, "/login/")


class Service:
    def __init__(self, build, *settings, data=None, env=None):
        self.build, self.settings, self.env = Path(build), settings, env or {}
        self.folder = None if data else tempfile.TemporaryDirectory()
        self.data = Path(data or Path(self.folder.name) / "data")
        self.lines, self.process, self.port = [], None, None

    def __enter__(self):
        self.start()
        return self

    def start(self):
        self.process = subprocess.Popen(
            [self.build / "dermis", "serve", "--port", "0", "--data-dir", self.data, *map(str, self.settings)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, **self.env})
        first = self.process.stdout.readline()
        found = re.search(r":(\d+)/$", first.strip())
        if not found:
            raise RuntimeError(first + self.process.stdout.read() + self.process.stderr.read())
        self.port = int(found.group(1))
        self.memory = self.process.stdout.readline()
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def client(self, language="en"):
        return Client(self.port, language)

    def user(self, *arguments, password=None):
        return subprocess.run([self.build / "dermis", "user", *arguments, "--data-dir", self.data],
                              input=password, capture_output=True, text=True, timeout=60)

    def stop(self, how=signal.SIGTERM):
        """Returns the exit code; a sanitizer's report is an error whatever the code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(90)
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        bad = [line for line in self.lines if "Sanitizer" in line or "runtime error" in line]
        if bad:
            raise AssertionError("".join(self.lines[-200:]))
        return code

    def __exit__(self, *_):
        code = self.stop()
        if self.folder:
            self.folder.cleanup()
        if code != 0:
            raise AssertionError(f"the server ended with {code}: {''.join(self.lines[-20:])}")

    def wait(self, condition, seconds=20):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if condition():
                return True
            time.sleep(0.05)
        return False
