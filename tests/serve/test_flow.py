"""The whole job over HTTP, as a guest, as an account holder and as a program.

Usage: test_flow.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import datetime
import io
import json
import re
import struct
import subprocess
import sys
import threading
import unittest
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from service import Service, flat_jpeg, multipart  # noqa: E402

BUILD, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
PHOTO = (SOURCE / "examples" / "ISIC_0000548.jpg").read_bytes()


def expected():
    run = subprocess.run([BUILD / "dermis", "predict", "--json", "--lang", "en", SOURCE / "examples" / "ISIC_0000548.jpg"],
                         capture_output=True, check=True)
    return json.loads(run.stdout)[0]["predictions"]


class Flow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service(BUILD, "--rate-limit", 0).__enter__()
        cls.expected = expected()

    @classmethod
    def tearDownClass(cls):
        cls.service.__exit__(None, None, None)

    def same(self, predictions, count=6):
        self.assertEqual([(p["class"], p["probability"]) for p in predictions],
                         [(p["class"], p["probability"]) for p in self.expected[:count]])

    def account(self, name, language="en"):
        """A client logged in to a new account; the page for signing up takes only ten a minute."""
        made = self.service.user("add", name, password="correct battery 42\n")
        client = self.service.client(language)
        self.assertEqual((made.returncode, client.log_in(name).status), (0, 303))
        return client

    def test_pages_in_both_languages(self):
        for language, word in (("en", "Look at a spot"), ("vi", "Xem một đốm")):
            client = self.service.client(language)
            page = client.get("/")
            self.assertEqual(page.status, 200)
            self.assertIn(word, page.text)
            self.assertIn("default-src 'none'", page.headers["Content-Security-Policy"])
            for path in ("/about/", "/login/", "/signup/", "/logout"):
                self.assertEqual(client.get(path).status, 200, path)
        switched = self.service.client("en")
        self.assertEqual(switched.get("/language/vi?next=/about/").headers["Location"], "/about/")
        self.assertIn('lang="vi"', switched.get("/").text)
        self.assertEqual(switched.get("/language/vi?next=//evil.example/").headers["Location"], "/")

    def test_errors(self):
        client = self.service.client()
        self.assertEqual(client.get("/nothing").status, 404)
        self.assertEqual(client.get("/result/AAAAAAAAAAAAAAAAAAAAAA/").status, 404)
        answer = client.ask("PUT", "/upload/")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "POST"))
        self.assertEqual(client.get("/", headers={"Host": "evil.example"}).status, 400)
        self.assertEqual(client.get("/health/", headers={"Host": "evil.example"}).text, "ok")
        self.assertEqual(client.get("/profile/").headers["Location"], "/login/?next=/profile/")
        self.assertEqual(client.get("/status/").status, 404)
        guest = self.service.client()
        self.assertEqual(guest.upload(b"no picture").status, 415)
        self.assertEqual(guest.upload(PHOTO[:3000]).status, 400)
        self.assertEqual(guest.upload(b"").status, 400)
        self.assertEqual(guest.upload(b"\xff\xd8" + bytes(6 << 20)).status, 413)
        heic = guest.upload(b"\0\0\0\x18ftypheic" + bytes(100), headers={"Accept": "application/json"})
        self.assertEqual((heic.status, heic.json()["error"]["code"]), (415, "heic"))

    def test_guest(self):
        guest = self.service.client()
        answer = guest.upload(PHOTO)  # no cookie, as curl
        self.assertEqual(answer.status, 303)
        url = answer.headers["Location"]
        page = guest.get(url)
        self.assertEqual(page.status, 200)
        self.assertIn("melanoma", page.text)
        for name, kind in (("photo.jpg", "image/jpeg"), ("thumb.jpg", "image/jpeg"), ("heat.png?class=2", "image/png"),
                           ("overlay.png?class=NEV&alpha=0.5&colormap=viridis", "image/png")):
            picture = guest.get(url + name)
            self.assertEqual((picture.status, picture.headers["Content-Type"]), (200, kind), name)
        self.assertNotIn(b"Exif", guest.get(url + "photo.jpg").body)
        self.assertEqual(guest.get(url + "heat.png?class=99").status, 400)
        self.assertEqual(guest.get(url + "heat.png?colormap=grey").status, 400)

    def test_data_url_and_crop(self):
        guest = self.service.client()
        text = "data:image/jpeg;base64," + base64.b64encode(PHOTO).decode()
        kind, body = multipart([("image", text), ("crop", "10,20,100,120")])
        answer = guest.ask("POST", "/upload/", body, {"Content-Type": kind, "Accept": "application/json"})
        self.assertEqual(answer.status, 201)
        page = guest.get(answer.json()["url"]).text
        self.assertIn('width="100" height="120"', page)
        kind, body = multipart([("image", text), ("crop", "200,200,100,120")])
        self.assertEqual(self.service.client().ask("POST", "/upload/", body, {"Content-Type": kind}).status, 400)

    def test_account(self):
        anna, other = self.service.client(), self.service.client()
        self.assertEqual(anna.sign_up("anna", "short").status, 400)
        self.assertEqual(anna.sign_up("anna", "password123").status, 400)
        self.assertEqual(anna.sign_up("anna").status, 303)
        self.assertEqual(other.sign_up("ANNA").status, 409)
        self.assertEqual(other.sign_up("otto").status, 303)
        url = anna.upload(PHOTO, [("keep", "1")]).headers["Location"]
        for path in ("", "photo.jpg", "thumb.jpg", "heat.png", "overlay.png"):
            self.assertEqual(other.get(url + path).status, 404, path)
            self.assertEqual(self.service.client().get(url + path).status, 404, path)
            self.assertEqual(anna.get(url + path).status, 200, path)
        self.assertEqual(anna.form(url + "notes", {"site": "<b>arm</b> ' OR 1=1", "age": "40"}, url).status, 303)
        self.assertIn("&lt;b&gt;arm&lt;/b&gt; &#39; OR 1=1", anna.get(url).text)
        self.assertEqual(anna.form(url + "share", {"shared": "1"}, url).status, 303)
        shared = other.get(url)
        self.assertEqual(shared.status, 200)
        self.assertNotIn("OR 1=1", shared.text)
        self.assertEqual(other.form(url + "delete", {}).status, 404)
        self.assertEqual(anna.form(url + "share", {"shared": ""}, url).status, 303)
        self.assertEqual(other.get(url).status, 404)
        self.assertIn(url, anna.get("/profile/").text)
        second = anna.upload(PHOTO, [("keep", "1")]).headers["Location"]
        ids = [u.split("/")[2] for u in (url, second)]
        self.assertEqual(anna.get(f"/profile/compare/?pick={ids[0]}&pick={ids[1]}").status, 200)
        self.assertEqual(anna.get(f"/profile/compare/?a={ids[0]}").status, 400)
        self.assertEqual(other.get(f"/profile/compare/?a={ids[0]}&b={ids[1]}").status, 404)
        export = anna.form("/profile/export", {}, "/profile/")
        archive = zipfile.ZipFile(io.BytesIO(export.body))
        self.assertIsNone(archive.testzip())
        self.assertEqual(sorted(archive.namelist()),
                         sorted(["account.json"] + [f"{i}/{n}" for i in ids for n in ("result.json", "photo.jpg")]))
        stored = json.loads(archive.read(f"{ids[0]}/result.json"))
        self.assertEqual(stored["notes"]["age"], "40")
        self.same(stored["answer"]["predictions"])
        self.assertEqual(anna.form("/profile/delete", {"id": ids[1]}, "/profile/").status, 303)
        self.assertEqual(anna.get(second).status, 404)
        wrong = anna.form("/profile/delete-account", {"password": "not the right one"}, "/profile/")
        self.assertEqual(wrong.status, 403)
        self.assertEqual(anna.form("/profile/delete-account", {"password": "correct battery 42"}, "/profile/").status, 303)
        self.assertEqual(anna.get("/profile/").status, 303)
        self.assertEqual(self.service.client().log_in("anna").status, 401)

    def test_keep_after_login(self):
        guest = self.service.client()
        guest.get("/")
        url = guest.upload(PHOTO).headers["Location"]
        self.assertIn("/login/?next=", guest.get(url).text)
        self.assertEqual(guest.sign_up("keeper").status, 303)
        stranger = self.service.client()
        stranger.sign_up("stranger")
        self.assertEqual(stranger.form(url + "keep", {}).status, 404)
        self.assertEqual(guest.form(url + "keep", {}, url).status, 303)
        self.assertEqual(stranger.get(url).status, 404)
        self.assertIn(url, guest.get("/profile/").text)

    def test_what_is_not_kept_is_listed_as_such(self):
        for language, kept, unkept, soon in (("en", "1 kept", "1 not kept", "Not kept; deleted on <time"),
                                             ("vi", "1 đã lưu", "1 chưa lưu", "Chưa lưu; sẽ bị xóa lúc <time")):
            client = self.account(f"lists-{language}", language)
            first = client.upload(PHOTO, [("keep", "1")]).headers["Location"]
            page = client.get("/profile/").text
            self.assertIn(kept, page)
            self.assertNotIn(soon, page)
            second = client.upload(PHOTO).headers["Location"]
            page = client.get("/profile/").text
            self.assertIn(kept + " · " + unkept, page)
            self.assertEqual(page.count(soon), 1)
            self.assertRegex(page, f'href="{second}"(?:(?!</a>).)*{soon}')
            self.assertIn(f'href="{first}"', page)
            self.assertEqual(client.form(second + "keep", {}, second).status, 303)
            page = client.get("/profile/").text
            self.assertNotIn(soon, page)
            self.assertIn(kept.replace("1", "2"), page)

    def test_a_shared_result_is_not_the_strangers(self):
        for language, own, shared in (("en", "Kept among your pictures", "was shared with you"),
                                      ("vi", "Đã lưu trong ảnh của bạn", "được chia sẻ với bạn")):
            owner, stranger = self.account(f"shares-{language}", language), self.service.client(language)
            url = owner.upload(PHOTO, [("keep", "1")]).headers["Location"]
            owner.form(url + "share", {"shared": "1"}, url)
            self.assertIn(own, owner.get(url).text)
            self.assertNotIn(shared, owner.get(url).text)
            page = stranger.get(url).text
            self.assertIn(shared, page)
            self.assertNotIn(own, page)

    def test_times_name_their_zone(self):
        with Service(BUILD, env={"TZ": "Asia/Ho_Chi_Minh"}) as service:
            guest = service.client()
            page = guest.get(guest.upload(PHOTO).headers["Location"]).text
        times = re.findall(r'<time datetime="([^"]+)">([^<]+)</time>', page)
        self.assertGreaterEqual(len(times), 3)  # the report's head, made, deleted
        for utc, text in times:
            at = datetime.datetime.strptime(utc, "%Y-%m-%dT%H:%M:%SZ") + datetime.timedelta(hours=7)
            self.assertEqual(text, f"{at.day} {at:%b %Y, %H:%M} +07")

    def test_forms_need_their_token(self):
        eve, mallory = self.service.client(), self.service.client()
        eve.sign_up("eve")
        mallory.sign_up("mallory")
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        for token in ("", "x", mallory.csrf()):
            self.assertEqual(eve.ask("POST", "/profile/export", f"csrf={token}", kind).status, 403)
        old = eve.csrf()
        eve.form("/logout", {})
        self.assertEqual(eve.ask("POST", "/login/", f"csrf={old}&name=eve&password=correct+battery+42", kind).status, 403)
        self.assertEqual(self.service.client().ask("POST", "/login/", "name=eve&password=x", kind).status, 403)

    def test_log_in_lock(self):
        victim = self.service.client()
        victim.sign_up("victim")
        thief = self.service.client()
        answers = [thief.log_in("victim", "wrong password 1") for _ in range(7)]
        unknown = self.service.client().log_in("nobody at all", "wrong password 1")
        self.assertEqual([a.status for a in answers[:5]], [401] * 5)
        self.assertEqual(answers[5].status, 429)
        self.assertGreaterEqual(int(answers[5].headers["Retry-After"]), 1)
        self.assertIn(unknown.status, (401, 429))

    def test_log_in_lock_of_an_address(self):
        with Service(BUILD) as service:  # its own: the address has to wait afterwards
            thief = service.client()
            thief.sign_up("thief")
            token = thief.form("/logout", {}) and thief.csrf("/login/")

            def log_in(name, password):
                return thief.ask("POST", "/login/", f"csrf={token}&name={name}&password={password}",
                                 {"Content-Type": "application/x-www-form-urlencoded"})
            for i in range(30):
                if i == 20:  # one's own account does not buy new tries
                    self.assertEqual(log_in("thief", "correct+battery+42").status, 303)
                    thief.cookies.pop("dermis_session")
                self.assertEqual(log_in(f"other-{i}", "wrong+password+1").status, 401)
            self.assertEqual(log_in("other", "wrong+password+1").status, 429)

    def test_new_password(self):
        anna, elsewhere, program = self.account("newpass"), self.service.client(), self.service.client()
        elsewhere.log_in("newpass")

        def new_token():
            page = anna.form("/profile/tokens", {"label": "x"}, "/profile/").text
            return re.search(r'readonly value="([A-Za-z0-9_-]{43})"', page).group(1)
        program.token = new_token()
        self.assertEqual(program.get("/api/v1/results").status, 200)
        answer = anna.form("/profile/password", {"password": "correct battery 42", "new": "another long one 7",
                                                 "new_again": "another long one 7"}, "/profile/")
        self.assertEqual(answer.status, 303)
        self.assertEqual(program.get("/api/v1/results").status, 401)
        self.assertEqual(elsewhere.get("/profile/").status, 303)
        self.assertEqual(anna.get("/profile/").status, 200)
        program.token = new_token()
        self.assertEqual(self.service.user("passwd", "newpass", password="a third long one 9\n").returncode, 0)
        self.assertEqual(program.get("/api/v1/results").status, 401)
        self.assertEqual(anna.get("/profile/").status, 303)

    def test_api(self):
        client = self.service.client()
        raw = {"Content-Type": "image/jpeg"}
        self.same(client.ask("POST", "/api/v1/predict", PHOTO, raw).json()["predictions"])
        answer = client.ask("POST", "/api/v1/predict?top=2&map=true&class=NEV&overlay=1", PHOTO, raw).json()
        self.same(answer["predictions"], 2)
        self.assertEqual((answer["cam"]["class"], len(answer["cam"]["map"])), ("NEV", 7))
        self.assertTrue(base64.b64decode(answer["cam"]["overlay_png"]).startswith(b"\x89PNG"))
        kind, body = multipart([("top", "1"), ("cam", "false"), ("image", "a", "image/jpeg", PHOTO)])
        answer = client.ask("POST", "/api/v1/predict", body, {"Content-Type": kind}).json()
        self.same(answer["predictions"], 1)
        for query in ("top=x", "class=NONE", "cam=maybe", "cam=0&map=1", "crop=1,2,3", "colormap=grey"):
            bad = client.ask("POST", f"/api/v1/predict?{query}", PHOTO, raw)
            self.assertEqual((bad.status, "message" in bad.json()["error"]), (400, True), query)
        self.assertEqual(client.ask("POST", "/api/v1/predict?keep=true", PHOTO, raw).status, 401)
        self.assertEqual(client.ask("POST", "/api/v1/predict", "{}", {"Content-Type": "text/plain"}).status, 415)
        self.assertEqual(client.get("/api/v1/results").status, 401)
        self.assertEqual(len(client.get("/api/v1/model").json()["classes"]), 6)

    def test_tokens(self):
        owner, program = self.service.client(), self.service.client()
        owner.sign_up("owner")
        page = owner.form("/profile/tokens", {"label": "a <script>"}, "/profile/")
        self.assertEqual(page.status, 200)
        self.assertIn("a &lt;script&gt;", page.text)
        program.token = re.search(r">([A-Za-z0-9_-]{43})<|value=\"([A-Za-z0-9_-]{43})\" readonly|readonly value=\"([A-Za-z0-9_-]{43})\"",
                                  page.text)
        program.token = next(g for g in program.token.groups() if g)
        kept = program.ask("POST", "/api/v1/predict?keep=true", PHOTO, {"Content-Type": "image/jpeg"})
        self.assertEqual(kept.status, 201)
        listed = program.get("/api/v1/results").json()
        self.assertEqual((listed["total"], listed["results"][0]["id"]), (1, kept.json()["id"]))
        url = kept.json()["url"]
        self.same(program.get(url).json()["predictions"])
        self.assertEqual(program.get(url + "/overlay.png").status, 200)
        self.assertEqual(self.service.client().get(url).status, 404)
        self.assertEqual(program.ask("DELETE", url).status, 204)
        self.assertEqual(program.get(url).status, 404)
        number = re.search(r'name="id" value="(\d+)"', owner.get("/profile/").text).group(1)
        self.assertEqual(owner.form("/profile/tokens/revoke", {"id": number}, "/profile/").status, 303)
        self.assertEqual(program.get("/api/v1/results").status, 401)

    def test_predict_as_it_is_sent(self):
        """Of the query or the form alike; a picture that curl calls a form is one."""
        client = self.service.client()
        small = client.ask("POST", "/api/v1/predict?crop=10,10,200,200", PHOTO, {"Content-Type": "image/jpeg"}).json()["predictions"]
        kind, body = multipart([("image", "a.jpg", "image/jpeg", PHOTO)])
        form = client.ask("POST", "/api/v1/predict?crop=10,10,200,200", body, {"Content-Type": kind})
        self.assertEqual(form.json()["predictions"], small)
        self.assertEqual(client.ask("POST", "/api/v1/predict?crop=garbage", body, {"Content-Type": kind}).status, 400)
        curl = client.ask("POST", "/api/v1/predict", PHOTO, {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(curl.json()["predictions"][0]["probability"], self.expected[0]["probability"])
        for method, path, status, words in (("GET", "/api/v1/nosuch", 404, "no such address"), ("GET", "/api/v1/predict", 405, "method")):
            answer = client.ask(method, path)
            self.assertEqual(answer.status, status)
            self.assertIn(words, answer.json()["error"]["message"])

    def test_hosts(self):
        """Without allowed-hosts: localhost and addresses, no names that a stranger could point here; the page and the log say so."""
        for host, status in (("localhost", 200), ("127.0.0.1:80", 200), ("192.0.2.7", 200), ("[2001:db8::7]:8000", 200),
                             ("evil.example", 400), ("127.0.0.1.evil.example", 400), ("[evil]", 400), ("1.2.3", 400)):
            answer = self.service.client().get("/", headers={"Host": host})
            self.assertEqual(answer.status, status, host)
        self.assertIn("allowed-hosts", self.service.client().get("/", headers={"Host": "evil.example"}).text)
        self.assertTrue(self.service.wait(lambda: any('"host":"evil.example"' in line for line in self.service.lines)))

    def test_advice_stays_with_the_result(self):
        client = self.service.client()
        page = client.get(client.upload(PHOTO, [("advice", "dark,<b>,blur")]).headers["Location"]).text
        self.assertIn("not quite sharp, rather dark. So the answer means less", page)
        self.assertNotIn("means less", client.get(client.upload(PHOTO, [("advice", "<b>,nothing")]).headers["Location"]).text)

    def test_too_few_pixels(self):
        client = self.service.client()
        self.assertIn("32", client.upload(flat_jpeg(31, 400)).text)
        self.assertEqual(client.upload(flat_jpeg(32, 400)).status, 303)
        self.assertEqual(client.upload(PHOTO, [("crop", "5,5,200,20")]).status, 400)

    def test_open_inference_protocol(self):
        client = self.service.client()
        name = client.get("/api/v1/model").json()["name"]
        about = client.get(f"/v2/models/{name}").json()
        shape = about["inputs"][0]["shape"]
        self.assertTrue(client.get(f"/v2/models/{name}/ready").json()["ready"])
        self.assertEqual(client.get("/v2/models/other").status, 404)
        photo = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(PHOTO).decode()]}]}
        answer = client.ask("POST", f"/v2/models/{name}/infer", json.dumps({"id": "7", **photo})).json()
        self.assertEqual((answer["id"], answer["outputs"][0]["shape"]), ("7", [1, 6]))
        best = max(answer["outputs"][0]["data"])
        self.assertEqual(best, self.expected[0]["probability"])
        count = shape[1] * shape[2] * shape[3]
        tensor = [128.0] * count
        flat = client.ask("POST", f"/v2/models/{name}/infer", json.dumps(
            {"inputs": [{"name": "input", "datatype": "FP32", "shape": shape, "data": tensor}]})).json()["outputs"][0]["data"]
        binary = struct.pack(f"<{count}f", *tensor)
        head = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": shape,
                                       "parameters": {"binary_data_size": len(binary)}}],
                           "parameters": {"binary_data_output": True}}).encode()
        answer = client.ask("POST", f"/v2/models/{name}/infer", head + binary,
                            {"Inference-Header-Content-Length": str(len(head))})
        length = int(answer.headers["Inference-Header-Content-Length"])
        got = struct.unpack("<6f", answer.body[length:])
        for a, b in zip(got, flat):
            self.assertAlmostEqual(a, b, 6)
        for bad in ("", "{", "[" * 100, "{}", json.dumps({"inputs": []}),
                    json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [1]}]})):
            self.assertEqual(client.ask("POST", f"/v2/models/{name}/infer", bad).status, 400, bad)

    def test_operator(self):
        made = self.service.user("add", "boss", "--operator", password="correct battery 42\n")
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        self.assertEqual(made.stdout, f"added boss, an operator, to {self.service.data}\n")
        self.assertIn("boss  (operator)", self.service.user("list").stdout)
        boss = self.service.client()
        self.assertEqual(boss.log_in("boss").status, 303)
        self.assertEqual(boss.get("/status/").status, 200)
        data = boss.get("/status/data").json()
        self.assertGreater(data["bound_bytes"], data["rss_bytes"])
        elsewhere = {"X-Forwarded-For": "127.0.0.1"}
        self.assertEqual(boss.get("/metrics", headers=elsewhere).status, 200)
        self.assertEqual(boss.get("/metrics", headers={**elsewhere, "Authorization": "Bearer x"}).status, 401)
        self.assertEqual(self.account("nobodys-boss").get("/metrics", headers=elsewhere).status, 403)
        self.assertEqual(self.service.user("passwd", "boss", password="another long one 7\n").returncode, 0)
        self.assertEqual(boss.get("/status/").status, 404)  # its sessions ended
        refused = self.service.user("delete", "boss")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--yes", refused.stderr)
        self.assertIn("boss", self.service.user("list").stdout)
        gone = self.service.user("delete", "boss", "--yes")
        self.assertEqual((gone.returncode, gone.stdout), (0, f"deleted boss with 0 results from {self.service.data}\n"))
        self.assertNotIn("  boss\n", self.service.user("list").stdout)

    def test_health(self):
        client = self.service.client()
        self.assertEqual(client.get("/health/live").status, 200)
        self.assertEqual(client.get("/health/ready").status, 200)
        memory = client.get("/memory/").json()
        self.assertEqual(sorted(memory), ["gradcam_enabled", "memory", "model_loaded", "status"])
        self.assertEqual(sorted(memory["memory"]), ["percent", "rss_mb", "vms_mb"])
        self.assertIn("dermis_requests_total", client.get("/metrics").text)
        # what comes through a proxy that nobody named does not come from this machine
        self.assertEqual(client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status, 403)

    def test_many_at_once(self):
        results = []

        def one():
            answer = self.service.client().ask("POST", "/api/v1/predict", PHOTO, {"Content-Type": "image/jpeg"})
            results.append((answer.status, answer.json() if answer.status == 200 else answer.headers["Retry-After"]))

        threads = [threading.Thread(target=one) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(results), 100)
        for status, answer in results:
            self.assertIn(status, (200, 503))
            if status == 200:
                self.same(answer["predictions"])
        self.assertGreater(sum(status == 200 for status, _ in results), 10)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
