"""Settings: where they may stand, what wins, what is refused; docs/settings.md is what the program says.

Usage: test_settings.py BUILD_ROOT SOURCE_ROOT
"""
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

    def test_help_names_all(self):
        text = serve("--help").stdout
        for line in serve("--settings").stdout.splitlines()[2:]:
            self.assertIn(line.split("`")[1], text)

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
            path.write_text('language = "vi"\nretention = 2h\n')
            with Service(BUILD, "--config", path) as service:
                self.assertIn('lang="vi"', service.client("de").get("/").text)

    def test_certificate_needs_key(self):
        self.assertIn("belong together", serve("--tls-certificate", "x.pem").stderr)

    def test_memory_budget(self):
        run = serve("--memory", "20M", "--data-dir", tempfile.mkdtemp())
        self.assertEqual(run.returncode, 12)
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
            taken = serve("--data-dir", Path(service.folder.name) / "b", "--port", str(service.port))
            self.assertEqual(taken.returncode, 4)
            self.assertIn("in use", taken.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
