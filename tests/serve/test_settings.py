"""Settings: where they may stand, what wins, what is refused; docs/settings.md is what the program says.

Usage: test_settings.py BUILD_ROOT SOURCE_ROOT
"""
import base64
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from service import Service, flat_jpeg  # noqa: E402

BUILD, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])


def serve(*arguments, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DERMIS_")}
    return subprocess.run([BUILD / "dermis", "serve", *arguments], env={**clean, **env}, capture_output=True, text=True,
                          timeout=60)


class Settings(unittest.TestCase):
    def test_document(self):
        page = (SOURCE / "docs" / "settings.md").read_text(encoding="utf-8")
        table = serve("--settings").stdout
        self.assertIn("| `--port` |", table)
        self.assertIn(table, page, "write it anew: build/dermis serve --settings")

    def test_help_names_all_and_their_defaults(self):
        text = serve("--help").stdout
        for line in serve("--settings").stdout.splitlines()[2:]:
            cells = line.replace("\\|", "/").split("|")
            flag, default = cells[1].strip(" `"), cells[3].strip(" `")
            row = next(x for x in text.splitlines() if x.strip().startswith((flag + " ", "-m, " + flag + " ")))
            self.assertTrue(row.endswith(f"({default})") if default else "()" not in row, row)

    def test_switches(self):
        for words, value in ((["--debug"], None), (["--debug", "--port", "x"], "--port is 'x'"), (["--debug", "maybe"], "--debug is 'maybe'"),
                             (["--debug=perhaps"], "--debug is 'perhaps'"), (["--gradcam", "off", "--preload=on", "--port", "x"], "--port is 'x'")):
            run = serve(*words, "--data-dir", "/dev/null/x")
            self.assertEqual(run.returncode, 2 if value else 4, run.stderr)
            self.assertIn(value or "/dev/null", run.stderr)
        with Service(BUILD, "--gradcam", "off", "--debug") as service:
            self.assertFalse(service.client().get("/api/v1/model").json()["explains"])

    def test_lists(self):
        for name, values in (("trusted-proxies", ("foo", "foo bar", "127.0.0.0/8", "10.0.0.1 10.0.0.2", "10.0.0.1,", ",", "0::1", "10.0.0.256")),
                             ("allowed-hosts", ("a b,,", "a,,b", "a b", ",", "https://a", "a:8000", "::1", "[x]", ".", "a..b"))):
            for value in values:
                run = serve(f"--{name}", value, "--data-dir", "/dev/null/x")
                self.assertEqual(run.returncode, 2, (name, value))
                self.assertIn(f"--{name} is '{value}'; it has to be ", run.stderr)
        for name, values in (("trusted-proxies", ("", "*", "127.0.0.1, ::1", "FD00::1")),
                             ("allowed-hosts", ("", "*", ".example.org, a-b.example.org,10.0.0.1,[::1]"))):
            for value in values:
                self.assertEqual(serve(f"--{name}", value, "--data-dir", "/dev/null/x").returncode, 4, (name, value))

    def test_unknown_variable(self):
        run = serve("--data-dir", "/dev/null/x", DERMIS_PROT="1", DERMIS_PORT="1", DERMIS_CONFIG="/dev/null")
        self.assertEqual(re.findall("warning: .*", run.stderr),
                         ["warning: DERMIS_PROT in the environment is no setting; did you mean DERMIS_PORT"])

    def test_retention_in_words(self):
        for value, words in (("60", ("after 1\u00a0minute,", "sau 1\u00a0phút,")), ("90s", ("after 90\u00a0seconds,", "sau 90\u00a0giây,")),
                             ("2h", ("after 2\u00a0hours,", "sau 2\u00a0giờ,")), ("14d", ("after 14\u00a0days,", "sau 14\u00a0ngày,"))):
            with Service(BUILD, "--retention", value) as service:
                for language, word in zip(("en", "vi"), words):
                    self.assertIn(word, service.client(language).get("/").text)

    def test_wrong_values(self):
        for name, value in (("port", "65536"), ("port", "80x"), ("port", "-1"), ("port", ""), ("workers", "1.5"),
                            ("upload-limit", "1"), ("upload-limit", "0x10000"), ("language", "fr"), ("gradcam", "maybe"),
                            ("retention", "5y"), ("secret-key", "short"), ("queue", "99999"), ("memory", "nan")):
            run = serve(f"--{name}", value)
            self.assertEqual(run.returncode, 2, (name, value))
            self.assertIn(f"--{name} is ", run.stderr)
            self.assertIn("it has to be ", run.stderr)
        self.assertNotIn("short", serve("--secret-key", "short").stderr)
        self.assertIn("DERMIS_PORT is 'x'", serve(DERMIS_PORT="x", PORT="1").stderr)
        self.assertIn("PORT is 'x'", serve(PORT="x").stderr)

    def test_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dermis.conf"
            for text, expected in (("port = 70000", "port in "), ("nonsense", "line 1"), ("# x\nprot = 1", "no setting prot"),
                                   ("port = 1\nport = 2", "second time"), ("port = 1\0", "not a text file")):
                path.write_text(text)
                run = serve("--config", path)
                self.assertEqual(run.returncode, 2, text)
                self.assertIn(expected, run.stderr)
            path.write_text("port = 70000\n")
            self.assertIn("--port is 'y'", serve("--config", path, "--port", "y").stderr)
            self.assertIn("DERMIS_PORT is 'z'", serve("--config", path, DERMIS_PORT="z").stderr)
            path.write_text('language = "vi" # remark\n\t# another\nretention = 2h\t# and a third\n')
            with Service(BUILD, "--config", path) as service:
                self.assertIn('lang="vi"', service.client("de").get("/").text)

    def test_certificate_needs_key(self):
        self.assertIn("belong together", serve("--tls-certificate", "x.pem").stderr)

    def test_encrypted_key(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key, locked = (f"{folder}/{name}.pem" for name in ("certificate", "key", "locked"))
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                            "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
            subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked], check=True)
            more = ("--port", "0", "--data-dir", f"{folder}/data", "--tls-certificate", certificate, "--tls-key")
            run = serve(*more, locked)
            self.assertEqual(run.returncode, 2)
            self.assertIn(f"{locked}: the key is encrypted", run.stderr)
            subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", locked], check=True)
            run = serve(*more, locked)
            self.assertEqual(run.returncode, 2)
            self.assertIn("belong together", run.stderr)
            self.assertNotIn("encrypted", run.stderr)

    def test_memory_budget(self):
        run = serve("--memory", "20M", "--data-dir", tempfile.mkdtemp())
        self.assertEqual(run.returncode, 12)
        self.assertIn("the memory budget is 20 MiB (21.0 MB)", run.stderr)
        self.assertIn("program", run.stderr)
        # with the least that it takes a phone's photograph is stored, upright
        least = float(re.search(r"it takes ([\d.]+)", run.stderr).group(1)) * 1e6 + 100000
        with Service(BUILD, "--memory", int(least)) as service:
            client = service.client()
            answer = client.upload(flat_jpeg(4000, 3000, 6))
            self.assertEqual(answer.status, 303, answer.text)
            self.assertRegex(client.get(answer.headers["Location"]).text, r'width="1200" height="1600"')
            # and so is a tensor as JSON
            model = client.get("/v2/models/" + client.get("/api/v1/model").json()["name"]).json()
            shape = model["inputs"][0]["shape"]
            answer = client.ask("POST", f"/v2/models/{model['name']}/infer", json.dumps({"inputs": [{
                "name": "input", "datatype": "FP32", "shape": shape, "data": [127.123456] * math.prod(shape)}]}))
            self.assertEqual(answer.status, 200, answer.text)
            # what needs more is refused before anything of it is kept
            client.sign_up("keeper")
            page = client.form("/profile/tokens", {"label": "x"}, "/profile/").text
            program = service.client()
            program.token = next(t for t in re.findall(r'[">]([A-Za-z0-9_-]{43})["<]', page) if f'name="csrf" value="{t}"' not in page)
            answer = program.ask("POST", "/api/v1/predict?keep=true&overlay=true", flat_jpeg(4000, 3000), {"Content-Type": "image/jpeg"})
            self.assertEqual(answer.status, 413, answer.text)
            self.assertEqual(program.get("/api/v1/results").json()["total"], 0)
            # base64 is decoded into the budget, not beside it
            url = "data:image/jpeg;base64," + base64.b64encode(flat_jpeg(4000, 3000) + bytes(4 << 20)).decode()
            body = urllib.parse.urlencode({"image": url})
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: service.client().ask("POST", "/upload/", body, {"Content-Type": "application/x-www-form-urlencoded"}),
                              range(8)))
            peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.process.pid}/status").read_text()).group(1)) * 1024
            if "asan" not in str(BUILD) and "tsan" not in str(BUILD):
                self.assertLess(peak, least)
        with Service(BUILD, "--memory", "160M") as service:
            bound = float(service.memory.split("at most ")[1].split(" MB")[0])
            self.assertLessEqual(bound, 160 * 1.048576 + 0.05)  # printed with one decimal

    def test_memory_budget_of_a_new_model(self):
        """What would be refused at the start is refused at SIGHUP."""
        large = SOURCE / "models" / "dermis-lite0.gguf"
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "live.gguf"
            subprocess.run([BUILD / "dermis", "convert", SOURCE / "tests/golden/models/named/model.keras", model], check=True,
                           capture_output=True, timeout=60)
            arguments = ["--workers", "1", "--connections", "64"]
            run = serve("-m", large, "--memory", "20M", "--data-dir", f"{folder}/data", *arguments)
            takes = float(re.search(r"it takes ([\d.]+)", run.stderr).group(1)) * 1e6
            with Service(BUILD, "-m", model, "--memory", int(takes - 1e6), *arguments) as service:
                client = service.client()
                name = client.get("/api/v1/model").json()["name"]
                small = Path(folder) / "small.gguf"
                shutil.copy(model, small)
                for path, said in ((small, "taken anew"), (large, "the old one stays"), (small, "taken anew")):
                    shutil.copy(path, new := Path(folder) / "new")
                    os.replace(new, model)
                    service.lines.clear()
                    service.process.send_signal(signal.SIGHUP)
                    self.assertTrue(service.wait(lambda: any(said in line for line in service.lines)), service.lines)
                    self.assertEqual(client.get("/api/v1/model").json()["name"], name)

    def test_few_files(self):
        """Connections that the process may not open files for are not offered."""
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.Popen(["sh", "-c", 'ulimit -n 300; exec "$0" "$@"', BUILD / "dermis", "serve", "--port", "0", "--data-dir",
                                    f"{folder}/data"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            run.stdout.readline()
            self.assertIn(" 86 connections ", run.stdout.readline())
            run.terminate()
            self.assertIn('"connections":86,"asked":512', run.communicate(timeout=60)[1])
            self.assertEqual(run.returncode, 0)

    def test_user_makes_no_folder(self):
        def user(*arguments, stdin=None, **env):
            return subprocess.run([BUILD / "dermis", "user", *arguments], env={**os.environ, **env}, input=stdin, capture_output=True,
                                  text=True, timeout=60)
        with tempfile.TemporaryDirectory() as folder:
            data = f"{folder}/above/data"
            for action in (["list"], ["passwd", "anna"], ["delete", "anna", "--yes"]):
                run = user(*action, "--data-dir", data, stdin="correct battery 42\n")
                self.assertEqual(run.returncode, 3, run.stderr)
                self.assertIn(f"{data}: no accounts are kept here (no such folder)", run.stderr)
                self.assertEqual(os.listdir(folder), [])
            self.assertIn("no dermis.db in it", user("list", "--data-dir", folder).stderr)
            self.assertEqual(user("add", "anna", stdin="correct battery 42\n", DERMIS_DATA_DIR=data).stdout, f"added anna to {data}\n")
            self.assertIn("anna", user("list", "--data-dir", data).stdout)
            # at a terminal it is asked
            for answer, left in ((b"\n", True), (b"y\n", False)):
                master, slave = os.openpty()
                os.write(master, answer)
                run = subprocess.run([BUILD / "dermis", "user", "delete", "anna", "--data-dir", data], stdin=slave, capture_output=True,
                                     text=True, timeout=60)
                os.close(slave)
                os.close(master)
                self.assertIn(f"Delete anna with 0 results from {data}? [y/N]", run.stderr)
                self.assertEqual(run.returncode, 2 if left else 0, run.stderr)
                self.assertEqual("anna" in user("list", "--data-dir", data).stdout, left)
        text = user("add", "--help").stdout
        self.assertLess(text.index("delete NAME"), text.index("--data-dir"))
        self.assertNotIn("--port", text)

    def test_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "other").write_text("x")
            os.chmod(folder, 0o755)
            run = serve("--data-dir", folder, "--port", "0")
            self.assertEqual(run.returncode, 4)
            self.assertIn("holds other things", run.stderr)
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o755)
        with Service(BUILD) as service:
            self.assertEqual(os.stat(service.data).st_mode & 0o777, 0o700)
            for path in service.data.iterdir():
                self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)
            second = serve("--data-dir", service.data, "--port", "0")
            self.assertEqual(second.returncode, 15)
            self.assertIn("another dermis", second.stderr)
            self.assertIn("DERMIS_DATA_DIR", second.stderr)
            taken = serve("--data-dir", Path(service.folder.name) / "b", "--port", str(service.port))
            self.assertEqual(taken.returncode, 4)
            self.assertIn("in use", taken.stderr)
            self.assertIn("DERMIS_PORT", taken.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
