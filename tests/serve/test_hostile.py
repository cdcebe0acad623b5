"""What comes from people who mean no good, from slow lines, and from machines in trouble.

Usage: test_hostile.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import json
import math
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from service import Service, multipart  # noqa: E402

BUILD, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
PHOTO = (SOURCE / "examples" / "ISIC_0000548.jpg").read_bytes()
RAW = {"Content-Type": "image/jpeg"}


def raw(port, data, seconds=20):
    """Sends bytes, returns all that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.sendall(data)
        got = b""
        try:
            while chunk := s.recv(65536):
                got += chunk
        except (ConnectionResetError, socket.timeout):
            pass
        return got


def bomb():
    """A PNG of 30000 x 30000 pixels in a few hundred kilobytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = zlib.compress(bytes(1 + 30000 * 3) * 20, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", row) + chunk(b"IEND", b"")


def files_of(service):
    return sorted(p.name for p in (service.data / "photos").rglob("*") if p.is_file()) if (service.data / "photos").exists() else []


class Bad(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service(BUILD, "--rate-limit", 0, "--request-limit", 5).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__(None, None, None)

    def alive(self):
        self.assertEqual(self.service.client().get("/health/").text, "ok")

    def test_malformed_forms(self):
        client = self.service.client()
        kind, body = multipart([("image", "a.jpg", "image/jpeg", PHOTO)])
        for bad_kind, bad_body in ((kind, body[:-10]), (kind, body[: len(body) // 2]), (kind, b""), (kind, b"x" * 1000),
                                   ("multipart/form-data", body), (kind.replace("test", "other"), body),
                                   (kind, body.replace(b'name="image"', b'name="\xff"'))):
            self.assertEqual(client.ask("POST", "/upload/", bad_body, {"Content-Type": bad_kind}).status, 400)
        self.assertEqual(client.ask("POST", "/upload/", body, {"Content-Type": "text/plain"}).status, 415)
        self.assertEqual(client.ask("POST", "/upload/", body).status, 415)

    def test_pictures(self):
        client = self.service.client()
        for data, status in ((bomb(), 413), (PHOTO[:200], 400), (PHOTO[: len(PHOTO) // 2], 400), (b"GIF89a" + bytes(50), 415),
                             (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415), (b"\0" * 1000, 415)):
            answer = client.ask("POST", "/api/v1/predict", data, RAW)
            self.assertEqual(answer.status, status, (data[:20], answer.text))
            self.assertNotIn(str(self.service.data), answer.text)

    def test_too_long_a_body_gets_its_page(self):
        body = bytes(9 << 20)
        answer = self.service.client().ask("POST", "/upload/", body, RAW)  # drained
        self.assertEqual(answer.status, 413)
        self.assertIn("too large", answer.text)
        head = b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        self.assertIn(b" 413 ", raw(self.service.port, head + b"Content-Length: 9000000000\r\n\r\n")[:40])
        self.assertIn(b" 413 ", raw(self.service.port, head + b"Content-Length: 9000000\r\nExpect: 100-continue\r\n\r\n")[:40])
        chunked = b"".join(b"10000\r\n" + bytes(0x10000) + b"\r\n" for _ in range(300)) + b"0\r\n\r\n"
        answer = raw(self.service.port, head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunked)
        self.assertIn(b" 413 ", answer[:40])
        self.alive()

    def test_chunked_upload(self):
        head = b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
        parts = [PHOTO[i:i + 999] for i in range(0, len(PHOTO), 999)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
        self.assertIn(b" 200 ", raw(self.service.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + body)[:40])

    def test_paths(self):
        for path in ("/static/../secret.key", "/static/%2e%2e/secret.key", "/static/..%2f..%2fetc/passwd", "//etc/passwd",
                     "/result/../../x/", "/%00", "/%ff", "/%", "/%zz", "/result/" + "A" * 5000 + "/", "/result/%2e%2e/photo.jpg"):
            got = raw(self.service.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            self.assertRegex(got[:20], rb"HTTP/1.1 (400|404) ", path)
            self.assertNotIn(b"root:", got)
        self.alive()

    def test_long_address(self):
        for language, words in (("en", "address is too long"), ("vi", "Địa chỉ này quá dài")):
            answer = self.service.client(language).get("/" + "a" * 9000)
            self.assertEqual(answer.status, 414)
            self.assertIn(words, answer.text)
        answer = self.service.client().get("/" + "a" * 9000, headers={"Accept": "application/json"})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (414, "address-too-long"))

    def test_headers(self):
        port = self.service.port
        self.assertIn(b" 400 ", raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")[:40])
        self.assertIn(b" 400 ", raw(port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")[:40])
        got = raw(port, b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n"
                        b"Connection: close\r\n\r\nhello!")
        self.assertTrue(got == b"" or b" 400 " in got[:40], got[:60])
        for flood in (b"X: " + b"y" * 100000 + b"\r\n", b"".join(b"X%d: y\r\n" % i for i in range(20000))):
            got = raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n")
            self.assertTrue(got == b"" or b" 431 " in got[:40] or b" 413 " in got[:40] or b" 400 " in got[:40], got[:80])
        for garbage in (b"\0" * 100, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(50), b"A" * 70000):
            raw(port, garbage, 3)
        self.alive()

    def test_host(self):
        """A name that was pointed here by others is not a name of this service; only health is told to any."""
        for path, status in (("/metrics", 400), ("/memory/", 400), ("/", 400), ("/v2", 400), ("/health/", 200), ("/health/ready", 200),
                             ("/v2/health/live", 200)):
            self.assertEqual(self.service.client().get(path, headers={"Host": "evil.example"}).status, status, path)
            self.assertEqual(self.service.client().get(path).status, 200, path)

    def late_body(self, headers, path=b"/upload/"):
        """What a client is told that sends its body a byte at a time, and when."""
        began, got = time.monotonic(), b""
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=0.2) as slow:
            slow.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n" + headers +
                         b"Content-Length: 100000\r\n\r\n")
            while time.monotonic() - began < 20:
                try:
                    part = slow.recv(65536)
                    got += part
                    if not part:
                        break
                except TimeoutError:
                    slow.sendall(b"x")
        return got.decode(), time.monotonic() - began

    def test_late_bodies(self):
        """Their time is over: told so in their language and form, then cut."""
        tries = {b"Accept-Language: vi\r\n": "Mất quá nhiều thời gian", b"": "This took too long",
                 b"Accept: application/json\r\n": '"code":"late"'}
        with ThreadPoolExecutor(len(tries) + 2) as pool:
            protocol = pool.submit(self.late_body, b"", b"/v2/models/any/infer")
            api = pool.submit(self.late_body, b"", b"/api/v1/predict")
            for (got, took), expected in zip(pool.map(self.late_body, tries), tries.values()):
                self.assertIn("HTTP/1.1 408 ", got[:20])
                self.assertIn(expected, got)
                self.assertIn("default-src 'none'", got)
                self.assertTrue(4.5 < took < 10, took)
            self.assertIn('{"error":"the request', protocol.result()[0])
            self.assertIn('"code":"late"', api.result()[0])
        self.assertTrue(self.service.wait(lambda: re.search(
            r'dermis_requests_total{method="POST",route="/upload/",status="408"} 3\n', self.service.client().get("/metrics").text)))
        self.alive()

    def test_made_up_guest(self):
        guest = self.service.client()
        guest.get("/")
        good = guest.cookies["dermis_guest"]
        self.assertIsNone(guest.get("/").headers["Set-Cookie"])
        swapped = ("B" if good[0] == "A" else "A") + good[1:]
        for bad in ("A" * 22, "A" * len(good), swapped, good[:-4], good + "AAAA", ""):
            guest.cookies["dermis_guest"] = bad
            guest.get("/")  # has no cookie, then: it gets one
            self.assertNotEqual(guest.cookies["dermis_guest"], bad)
            self.assertEqual(len(guest.cookies["dermis_guest"]), len(good))

    def test_hostile_text_everywhere(self):
        text = "';DROP TABLE users;--<script>alert(1)</script>\"&{{csrf}}{csrf}"
        client = self.service.client()
        self.assertEqual(client.sign_up(text[:60]).status, 303)
        url = client.upload(PHOTO, [("keep", "1")]).headers["Location"]
        for field in ("site", "since", "symptoms", "age", "medicines"):
            client.form(url + "notes", {field: text}, url)
            for page in (url, "/profile/"):
                self.assertNotIn("<script>alert", client.get(page).text, field)
        for page in ("/profile/?text=%3Cscript%3Ealert(1)&class=%22%3E%3Cscript%3Ealert(1)", "/login/?next=%22%3E%3Cscript%3Ealert(1)",
                     "/?notice=%3Cscript%3Ealert(1)", "/signup/?next=javascript:alert(1)"):
            self.assertNotIn("<script>alert", client.get(page).text)
            self.assertNotIn("javascript:", client.get(page).text)
        self.assertEqual(client.log_in("x", next="https://evil.example/").status, 401)
        again = self.service.client()
        self.assertEqual(again.log_in(text[:60], next="//evil.example").headers["Location"], "/")

    def test_client_that_leaves(self):
        head = f"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(PHOTO)}\r\n\r\n"
        for _ in range(100):
            s = socket.create_connection(("127.0.0.1", self.service.port))
            s.sendall(head.encode() + PHOTO)
            s.close()
        self.assertTrue(self.service.wait(lambda: "dermis_queue_depth 0" in self.service.client().get("/metrics").text))
        self.assertEqual(self.service.client().ask("POST", "/api/v1/predict", PHOTO, RAW).status, 200)


class Trouble(unittest.TestCase):
    def test_rate_limit(self):
        with Service(BUILD, "--rate-limit", 3) as service:
            guest = service.client()
            guest.get("/")
            answers = [guest.upload(PHOTO) for _ in range(5)]
            self.assertEqual([a.status for a in answers], [303, 303, 303, 429, 429])
            self.assertGreaterEqual(int(answers[3].headers["Retry-After"]), 1)

    def test_long_answers_wait_in_files(self):
        """What is not read yet is not kept in memory."""
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        rows = b"".join(b"\0" + os.urandom(1200 * 3) for _ in range(1200))  # noise: as long as an overlay can get
        noise = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1200, 1200, 8, 2, 0, 0, 0)) + \
            chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
        with Service(BUILD, "--rate-limit", 0) as service:
            def answers():
                sizes = []
                for path in Path(f"/proc/{service.process.pid}/fd").iterdir():
                    try:
                        if "(deleted)" in os.readlink(path) and str(service.data) in os.readlink(path):
                            sizes.append(os.stat(path).st_size)
                    except FileNotFoundError:
                        pass
                return [size for size in sizes if size > 1 << 20]
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", service.port))
            s.sendall(b"POST /api/v1/predict?overlay=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                      b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(noise) + noise)
            self.assertTrue(service.wait(lambda: answers()))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            got = b""
            while part := s.recv(1 << 20):
                got += part
            s.close()
            answer = json.loads(got.split(b"\r\n\r\n", 1)[1])
            self.assertTrue(base64.b64decode(answer["cam"]["overlay_png"]).endswith(b"IEND\xaeB`\x82"))
            self.assertTrue(service.wait(lambda: answers() == []))

    def test_exports_hold_up_no_page(self):
        with Service(BUILD) as service:
            client = service.client()
            client.sign_up("anna")
            url = client.upload(PHOTO, [("keep", "1")]).headers["Location"]
            photo = next(p for p in (service.data / "photos").rglob("*.jpg") if ".thumb" not in p.name)
            photo.unlink()
            os.mkfifo(photo)
            writer = os.open(photo, os.O_RDWR)  # as long as it is open, reading waits
            with ThreadPoolExecutor(4) as pool:
                exports = [pool.submit(client.form, "/profile/export", {}, "/profile/") for _ in range(4)]
                try:
                    self.assertTrue(service.wait(lambda: any("/profile/" in line for line in service.lines)))
                    time.sleep(0.3)
                    for page in ("/", "/profile/", url):
                        self.assertEqual(client.get(page, timeout=5).status, 200)
                    self.assertFalse(any(e.done() for e in exports))
                finally:
                    photo.unlink()
                    os.close(writer)
                for export in exports:
                    self.assertEqual(export.result().status, 200)
                    self.assertEqual(export.result().body[:2], b"PK")

    def test_forged_proxy_headers(self):
        """Of several lines only the last is the proxy's own; the others came from its client."""
        with Service(BUILD, "--trusted-proxies", "127.0.0.1", "--log-addresses") as service:
            for lines, address, secure in (
                    ("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
                     "2.2.2.2", False),
                    ("X-Forwarded-For: 1.1.1.1, 3.3.3.3\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", "3.3.3.3", True)):
                got = raw(service.port, f"GET /about/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n".encode())
                self.assertEqual(b"Strict-Transport-Security" in got, secure)
                self.assertTrue(service.wait(lambda: any(f'"address":"{address}"' in line for line in service.lines), 5))
            self.assertFalse(any("1.1.1.1" in line for line in service.lines))

    def test_expiry(self):
        with Service(BUILD, "--retention", 60) as service:
            guest, anna = service.client(), service.client()
            guest.get("/")
            url = guest.upload(PHOTO).headers["Location"]
            anna.sign_up("anna")
            db = sqlite3.connect(service.data / "dermis.db", timeout=10)
            db.execute("UPDATE results SET expires = 1")
            db.execute("UPDATE sessions SET expires = 1")
            db.commit()
            db.close()
            self.assertEqual(guest.get(url).status, 404)
            self.assertEqual(guest.get(url + "photo.jpg").status, 404)
            self.assertEqual(anna.get("/profile/").status, 303)
            self.assertTrue(service.wait(lambda: files_of(service) == [], 40))

    def test_locked_database(self):
        with Service(BUILD) as service:
            client = service.client()
            client.sign_up("anna")
            db = sqlite3.connect(service.data / "dermis.db", isolation_level=None)
            db.execute("BEGIN EXCLUSIVE")
            before = files_of(service)
            self.assertEqual(service.client().upload(PHOTO).status, 503)
            self.assertEqual(service.client().ask("POST", "/api/v1/predict", PHOTO, RAW).status, 200)
            answer = client.form("/logout", {})  # nobody is told of an end that did not come
            self.assertEqual((answer.status, "dermis_session" in client.cookies), (503, True))
            db.execute("ROLLBACK")
            self.assertEqual(client.get("/profile/").status, 200)
            db.execute("ALTER TABLE users RENAME TO away")  # as a database that cannot be read
            guest = service.client()
            self.assertEqual({guest.log_in("anna").status for _ in range(6)}, {503})
            db.execute("ALTER TABLE away RENAME TO users")
            db.close()
            self.assertEqual(guest.log_in("anna").status, 303)  # and those were no tries
            self.assertEqual(files_of(service), before)
            self.assertEqual(client.upload(PHOTO, [("keep", "1")]).status, 303)

    def test_photos_cannot_be_written(self):
        with Service(BUILD) as service:
            (service.data / "photos").write_text("in the way")
            answer = service.client().upload(PHOTO)
            self.assertEqual(answer.status, 503)
            self.assertNotIn(str(service.data), answer.text)
            os.remove(service.data / "photos")
            self.assertEqual(service.client().upload(PHOTO).status, 303)

    def test_full_disk(self):
        with tempfile.TemporaryDirectory() as folder:
            if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k,mode=700", "tmpfs", folder],
                                                   capture_output=True).returncode:
                self.skipTest("no small file system can be mounted here")
            try:
                with Service(BUILD, "--rate-limit", 0, data=Path(folder) / "data") as service:
                    client = service.client()
                    self.assertEqual(client.sign_up("anna").status, 303)
                    kept, last = [], None
                    for _ in range(200):
                        last = client.upload(PHOTO, [("keep", "1")])
                        if last.status != 303:
                            break
                        kept.append(last.headers["Location"])
                    self.assertEqual(last.status, 503)
                    self.assertIn("no room", last.text)
                    self.assertGreater(len(kept), 1)
                    self.assertEqual(client.ask("POST", "/api/v1/predict", PHOTO, RAW).status, 200)
                    answer = client.ask("POST", "/api/v1/predict?overlay=true", PHOTO, RAW)  # no room to put it aside
                    self.assertEqual(answer.status, 200)
                    self.assertTrue(answer.json()["cam"]["overlay_png"].startswith("iVBOR"))
                    for url in kept:  # nothing that was acknowledged is lost, nothing half stands
                        self.assertEqual(client.get(url + "photo.jpg").status, 200)
                    self.assertEqual(len(files_of(service)), 2 * len(kept))
                    # the operator makes room (deleting, too, needs some), and all goes on
                    subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
                    gone = client.form("/profile/delete", {"id": kept[0].split("/")[2]}, "/profile/").status
                    self.assertEqual(gone, 303)
                    self.assertEqual(client.upload(PHOTO, [("keep", "1")]).status, 303)
            finally:
                subprocess.run(["umount", "-l", folder])

    def test_kill_leaves_nothing_half(self):
        service = Service(BUILD, "--rate-limit", 0)
        service.start()
        acknowledged, stop = [], threading.Event()

        def send():
            while not stop.is_set():
                try:
                    answer = service.client().upload(PHOTO)
                    if answer.status == 303:
                        acknowledged.append(answer.headers["Location"])
                except OSError:
                    return

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        service.wait(lambda: len(acknowledged) > 8)
        service.process.kill()
        stop.set()
        for thread in threads:
            thread.join()
        service.process.wait()
        service.start()
        client = service.client()
        for url in acknowledged:
            self.assertEqual(client.get(url).status, 200)
            self.assertTrue(client.get(url + "photo.jpg").body.startswith(b"\xff\xd8"))
        db = sqlite3.connect(service.data / "dermis.db")
        rows = db.execute("SELECT count(*) FROM results").fetchone()[0]
        db.close()
        self.assertEqual(len(files_of(service)), 2 * rows)
        self.assertEqual(service.stop(), 0)

    def test_unload_and_swap(self):
        with Service(BUILD, "--idle-unload", 1, "-m", str(SOURCE / "models" / "dermis-lite0.gguf")) as service:
            client = service.client()
            self.assertFalse(client.get("/memory/").json()["model_loaded"])
            self.assertEqual(client.ask("POST", "/api/v1/predict", PHOTO, RAW).status, 200)
            self.assertTrue(service.wait(lambda: not client.get("/memory/").json()["model_loaded"]))
            self.assertEqual(client.get("/health/ready").status, 200)
        model = Path(service.data).parent.parent / f"dermis-swap-{os.getpid()}.gguf"
        shutil.copy(SOURCE / "models" / "dermis-lite0.gguf", model)
        try:
            with Service(BUILD, "-m", model, "--rate-limit", 0) as service:
                statuses, stop = [], threading.Event()

                def send():
                    while not stop.is_set():
                        statuses.append(service.client().ask("POST", "/api/v1/predict", PHOTO, RAW).status)

                threads = [threading.Thread(target=send) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for round_ in range(6):
                    new = model.with_suffix(".new")
                    shutil.copy(SOURCE / "models" / "dermis-lite0.gguf", new)
                    if round_ % 2:
                        new.write_bytes(b"no model")
                    os.replace(new, model)
                    service.process.send_signal(signal.SIGHUP)
                    time.sleep(0.3)
                stop.set()
                for thread in threads:
                    thread.join()
                self.assertEqual(set(statuses), {200})
                self.assertTrue(any("the old one stays" in line for line in service.lines))
                self.assertTrue(any("taken anew" in line for line in service.lines))
        finally:
            model.unlink()

    def test_tensor_for_a_model_that_was_changed(self):
        """Asked for by its name while it is not mapped, and another file stands there: nothing is read past the tensor."""
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "live.gguf"
            subprocess.run([BUILD / "dermis", "convert", SOURCE / "tests/golden/models/named/model.keras", model], check=True,
                           capture_output=True, timeout=60)
            with Service(BUILD, "-m", model) as service:
                client = service.client()
                about = client.get("/v2/models/" + client.get("/api/v1/model").json()["name"]).json()
                shape = about["inputs"][0]["shape"]
                count = math.prod(shape) * 4
                header = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": shape,
                                                 "parameters": {"binary_data_size": count}}]}).encode()
                binary = header + struct.pack("<f", 128) * (count // 4), {"Inference-Header-Content-Length": str(len(header))}
                picture = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1],
                                                  "data": [base64.b64encode(PHOTO).decode()]}]}), {}
                new = model.with_suffix(".new")
                shutil.copy(SOURCE / "models" / "dermis-lite0.gguf", new)
                os.replace(new, model)
                answer = client.ask("POST", f"/v2/models/{about['name']}/infer", *binary)
                self.assertEqual(answer.status, 503, answer.text)
                self.assertIn("changed meanwhile", answer.text)
                self.assertEqual(client.ask("POST", f"/v2/models/{about['name']}/infer", *picture).status, 404)
                name = client.get("/api/v1/model").json()["name"]
                self.assertEqual(client.ask("POST", f"/v2/models/{name}/infer", *picture).status, 200)
                # written over in place: the model that is mapped is let go, the next one who asks gets what stands there now
                shape = client.get(f"/v2/models/{name}").json()["inputs"][0]["shape"]
                tensor = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": shape,
                                                 "data": [127.0] * math.prod(shape)}]})
                os.utime(model, (1, 1))
                self.assertEqual([client.ask("POST", f"/v2/models/{name}/infer", tensor).status for _ in range(2)], [503, 200])

    def test_sigterm_drains(self):
        service = Service(BUILD, "--rate-limit", 0)
        service.start()
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(
            service.client().ask("POST", "/api/v1/predict", PHOTO, RAW).status)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        code = service.stop()
        for thread in threads:
            thread.join()
        self.assertEqual(code, 0)
        self.assertTrue(set(statuses) <= {200, 503}, statuses)

    def test_tls(self):
        if not shutil.which("openssl"):
            self.skipTest("no openssl to make a certificate")
        import ssl
        import http.client
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/key.pem", "-out",
                            f"{folder}/cert.pem", "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
            with Service(BUILD, "--tls-certificate", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem") as service:
                context = ssl._create_unverified_context()
                connection = http.client.HTTPSConnection("localhost", service.port, context=context, timeout=30)
                connection.request("GET", "/login/")
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200)
                self.assertIn("Secure", answer.headers["Set-Cookie"])
                self.assertIn("max-age", answer.headers["Strict-Transport-Security"])
                answer.read()
                connection.request("POST", "/api/v1/predict", PHOTO, RAW)
                self.assertEqual(connection.getresponse().status, 200)
                connection.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
