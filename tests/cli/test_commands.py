"""The command from outside: outputs, exit codes, messages."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

from harness import KERAS, PHOTO, PROGRAM, Case


def npy(path):
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    (n,) = struct.unpack("<H", data[8:10])
    assert (10 + n) % 64 == 0
    head = eval(data[10:10 + n], {"__builtins__": {}})  # a dict that this test's program wrote
    assert head["descr"] == "<f4" and not head["fortran_order"]
    values = struct.unpack(f"<{(len(data) - 10 - n) // 4}f", data[10 + n:])
    return head["shape"], values


class Commands(Case):
    def test_json(self):
        answer = json.loads(self.predict("--json", PHOTO)[0])[0]
        self.assertEqual(answer["file"], PHOTO)
        self.assertEqual((answer["width"], answer["height"]), (256, 256))
        p = [x["probability"] for x in answer["predictions"]]
        self.assertEqual(p, sorted(p, reverse=True))
        self.assertAlmostEqual(sum(p), 1, places=5)
        self.assertEqual({x["class"] for x in answer["predictions"]}, set("abcd"))
        self.assertEqual(answer["cam"]["class"], answer["predictions"][0]["class"])
        self.assertEqual(set(answer["timing_ms"]), {"decode", "run", "cam"})
        answer = json.loads(self.predict("--json", "--no-cam", "--top", "2", PHOTO)[0])[0]
        self.assertIsNone(answer["cam"])
        self.assertEqual(len(answer["predictions"]), 2)

    def test_class(self):
        for name in ("d", "D", "3"):
            answer = json.loads(self.predict("--json", "--class", name, PHOTO)[0])[0]
            self.assertEqual(answer["cam"]["class"], "d")
        self.assertIn("no class nevus", self.predict("--class", "nevus", PHOTO, code=2)[1])
        self.assertIn("no convolution is named x", self.predict("--layer", "x", PHOTO, code=2)[1])

    def test_human_without_terminal(self):
        out = self.predict(PHOTO)[0]
        self.assertEqual(len(out.splitlines()), 5)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("█", out)

    def test_outputs(self):
        self.predict("--overlay", self.path("o.png"), "--map", self.path("m.npy"), "--dump-input",
                     self.path("i.npy"), PHOTO)
        shape, values = npy(self.path("i.npy"))
        self.assertEqual(shape, (24, 24, 3))
        self.assertTrue(all(v == int(v) and 0 <= v <= 255 for v in values))
        shape, values = npy(self.path("m.npy"))
        self.assertEqual(len(values), shape[0] * shape[1])
        self.assertEqual(max(values), 1)
        self.assertGreaterEqual(min(values), 0)
        with open(self.path("o.png"), "rb") as f:
            head = f.read(24)
        self.assertEqual(head[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack(">II", head[16:24]), (256, 256))
        self.predict("--overlay", self.path("o.jpg"), PHOTO)
        with open(self.path("o.jpg"), "rb") as f:
            self.assertEqual(f.read(3), b"\xff\xd8\xff")

    def test_folders(self):
        one = shutil.copy(PHOTO, self.path("one.jpg"))
        self.predict("--overlay", self.path("o"), "--map", self.path("m"), one, PHOTO)
        self.assertEqual(sorted(os.listdir(self.path("o"))), ["ISIC_0000548.png", "one.png"])
        self.assertEqual(sorted(os.listdir(self.path("m"))), ["ISIC_0000548.npy", "one.npy"])

    def test_names_that_collide(self):
        copy = shutil.copy(PHOTO, self.path("ISIC_0000548.jpg"))
        error = self.predict("--map", self.path("m"), copy, PHOTO, code=2)[1]
        self.assertIn("two outputs have this name", error)
        self.assertFalse(os.path.exists(self.path("m")))
        both = self.path("both")
        self.predict("--map", both, "--dump-input", both, PHOTO, code=2)
        with open(copy, "rb") as f:
            before = f.read()
        self.assertIn("overwrite", self.predict("--overlay", copy, copy, code=2)[1])
        with open(copy, "rb") as f:
            self.assertEqual(f.read(), before)

    def test_output_over_another_photograph(self):
        os.mkdir(self.path("x"))
        first = shutil.copy(PHOTO, self.path("x", "a.jpg"))
        second = shutil.copy(PHOTO, self.path("a.png"))
        error = self.predict("--overlay", self.path(), second, first, code=2)[1]
        self.assertIn("would overwrite a photograph", error)
        with open(PHOTO, "rb") as f, open(second, "rb") as g:
            self.assertEqual(f.read(), g.read())

    def test_weights_that_are_not_numbers(self):
        with open(self.model, "rb") as f:
            data = f.read()
        model = self.write("nan.gguf", data[:-256] + b"\xff" * 256)
        out, error = self.call("predict", "-m", model, PHOTO, code=9)
        self.assertEqual(out, "")
        self.assertIn("not a number", error)
        self.call("check", model, code=9)

    def test_json_without_model(self):
        out, error = self.call("predict", "--json", "-m", self.write("m.gguf", b"GGUF"), PHOTO, "other.jpg", code=9)
        answers = json.loads(out)
        self.assertEqual([a["file"] for a in answers], [PHOTO, "other.jpg"])
        self.assertEqual({a["error"]["code"] for a in answers}, {"model-invalid"})
        self.assertEqual(len(error.splitlines()), 1)

    def test_outputs_without_explanation(self):
        self.assertIn("--no-cam", self.predict("--no-cam", "--map", self.path("m"), PHOTO, code=2)[1])

    def test_standard_input(self):
        with open(PHOTO, "rb") as f:
            data = f.read()
        by_pipe = json.loads(self.predict("--json", "-", stdin=data)[0])[0]
        by_name = json.loads(self.predict("--json", PHOTO)[0])[0]
        self.assertEqual(by_pipe["predictions"], by_name["predictions"])

    def test_bad_pictures(self):
        with open(PHOTO, "rb") as f:
            data = f.read()
        for name, content, code in (("text.jpg", b"no picture at all", 6), ("empty.png", b"", 6),
                                    ("cut.jpg", data[:len(data) // 2], 7),
                                    ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 6)):
            with self.subTest(name):
                bad = self.write(name, content)
                out, error = self.predict("--json", "--overlay", self.path("o.png"), bad, code=code)
                self.assertEqual(len(error.splitlines()), 1, error)
                self.assertTrue(error.startswith("dermis: " + bad), error)
                self.assertEqual(set(json.loads(out)[0]), {"file", "error"})
                self.assertEqual(os.listdir(self.here), [name])
                os.remove(bad)

    def test_first_failure_counts_others_answer(self):
        bad = self.write("bad.jpg", b"no picture")
        out, error = self.predict("--json", self.path("none.jpg"), PHOTO, bad, code=3)
        answers = json.loads(out)
        self.assertEqual(["error" in a for a in answers], [True, False, True])
        self.assertEqual(answers[2]["error"]["code"], "not-a-picture")
        self.assertEqual(len(error.splitlines()), 2)

    def test_name_not_utf8(self):
        raw = os.fsencode(self.here) + b"/\xff.jpg"
        shutil.copy(os.fsencode(PHOTO), raw)
        answers = json.loads(self.predict("--json", raw, raw + b".none", code=3)[0])
        self.assertEqual(len(answers), 2)

    def test_output_that_cannot_be_written(self):
        self.predict("--overlay", self.path("no/such/o.png"), PHOTO, code=3)
        self.predict("--overlay", self.write("file", b"") + "/o.png", PHOTO, code=4)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "predict", "-m", self.model, PHOTO], stdout=full,
                                  stderr=subprocess.PIPE, env=self.environment)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"standard output", done.stderr)

    def test_memory(self):
        self.assertIn("budget", self.predict("--memory", "1K", PHOTO, code=12)[1])
        self.assertIn("the budget of 2 MiB (2.1 MB)", self.predict("--memory", "2M", PHOTO, code=12)[1])
        self.assertIn("limit      900 MiB, 943.7 MB (--memory)", self.call("check", "--memory", "900M", self.model)[0])

    def test_models(self):
        self.call("predict", "-m", self.path("none.gguf"), PHOTO, code=3)
        self.call("predict", "-m", self.write("bad.gguf", b"GGUF" + b"\xff" * 64), PHOTO, code=9)
        with open(self.model, "rb") as f:
            data = f.read()
        self.call("predict", "-m", self.write("cut.gguf", data[:len(data) // 2]), PHOTO, code=9)
        self.call("predict", PHOTO, DERMIS_MODEL=self.model)

    def test_keras_is_converted_once(self):
        out, error = self.call("predict", "--json", "-m", KERAS, PHOTO)
        self.assertIn("converting", error)
        again, error = self.call("predict", "--json", "-m", KERAS, PHOTO)
        self.assertEqual(error, "")
        self.assertEqual(*(json.loads(x)[0]["predictions"] for x in (out, again)))

    def test_cache_that_others_can_write_to(self):
        os.mkdir(self.path("dermis"))
        os.chmod(self.path("dermis"), 0o777)
        error = self.call("predict", "-m", KERAS, PHOTO, code=4, XDG_CACHE_HOME=self.here)[1]
        self.assertIn("only you can write to", error)
        self.assertEqual(os.listdir(self.path("dermis")), [])

    def test_convert_leaves_nothing_behind(self):
        bad = self.write("bad.keras", b"PK\3\4" + b"\0" * 100)
        done = subprocess.run([PROGRAM, "convert", bad, self.path("o.gguf")], capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(os.listdir(self.here), ["bad.keras"])

    def test_usage(self):
        self.assertIn("Usage", self.call(code=2)[1])
        self.assertIn("no command 'predcit'", self.call("predcit", code=2)[1])
        self.assertRegex(self.call("--version")[0], r"^dermis \d+\.\d+\.\d+\n$")
        for command in ("predict", "convert", "inspect", "bench", "check"):
            self.assertIn(command, self.call("--help")[0])
            self.assertIn("sage", self.call(command, "--help")[0])
        self.assertIn("64 million pixels", self.call("predict", "--help")[0])
        for wrong in (["--top", "0"], ["--alpha", "2"], ["--memory", "much"], ["--score", "x"],
                      ["--cpu", "z80"], ["--nonsense"], ["--colormap", "grey", "--overlay", "o.png"], ["--overlay", "heat.gif"],
                      ["--overlay", self.path("a.png/heat")], ["--lang", "fr"], ["--lang", ""]):
            with self.subTest(wrong):
                self.predict(PHOTO, *wrong, code=2)

    def test_inspect_bench_check(self):
        out = json.loads(self.call("inspect", "--json", "--layers", self.model)[0])
        self.assertEqual(out["classes"], list("abcd"))
        for row in out["layers"]:
            self.assertLessEqual(row["arena_offset"] + row["arena_bytes"],
                                 out["memory"]["arena_bytes"])
        out = json.loads(self.call("bench", "--json", "-m", self.model, "--repeat", "5", "--threads",
                                   "1", "--cpu", "scalar")[0])
        self.assertLessEqual(out["latency_ms"]["min"], out["latency_ms"]["p50"])
        self.assertLessEqual(out["latency_ms"]["p50"], out["latency_ms"]["p95"])
        self.assertEqual((out["threads"], out["cpu"]), (1, "scalar"))
        self.assertGreater(out["peak_rss_bytes"], 0)
        self.assertIn("GMAC/s", self.call("bench", "-m", self.model, "--repeat", "2", "--layers")[0])

    def test_bench_layers(self):
        out = json.loads(self.call("bench", "--json", "--layers", "-m", self.model, "--repeat", "3")[0])
        self.assertAlmostEqual(sum(row["share"] for row in out["layers"]), 1, places=3)
        steps = json.loads(self.call("inspect", "--json", "--layers", self.model)[0])["layers"]
        for row, step in zip(out["layers"], steps, strict=True):
            for key in ("layer", "operator", "shape", "macs"):
                self.assertEqual(row[key], step[key])
            self.assertGreaterEqual(row["ms"], 0)
            self.assertIn("gmac_per_second", row)

    def test_check(self):
        out = self.call("check", self.model)[0]
        for text in ("available: scalar", "valid", "forward    ok", "at most", "converter  starts"):
            self.assertIn(text, out)
        self.assertEqual(out.splitlines()[-1], "ok")
        self.assertIn("used: scalar", self.call("check", self.model, DERMIS_CPU="scalar")[0])
        self.assertIn("not also b", self.call("check", self.model, "b", code=2)[1])
        self.call("check", self.path("none.gguf"), code=3)
        self.call("check", self.write("bad.gguf", b"GGUF" + b"\xff" * 64), code=9)
        self.call("check", self.model, code=2, DERMIS_CPU="z80")
        # enough for program and model, not for a photograph
        text = next(x for x in out.splitlines() if x.startswith("memory"))
        most, photo = float(text.split()[3]), float(text.split()[-1])
        budget = str(int((most - photo / 2) * 1e6))
        out, error = self.call("check", "--memory", budget, self.model, code=12)
        self.assertIn("--memory allows", error)
        self.assertEqual(out.splitlines()[-1], "FAILED")

    def test_model_by_option(self):
        self.assertIn("used: ", self.call("check", "-m", self.model)[0])
        self.assertEqual(json.loads(self.call("inspect", "--json", "-m", self.model)[0])["classes"], list("abcd"))
        self.assertIn("not also b", self.call("check", "-m", self.model, "b", code=2)[1])
        self.assertIn("one model", self.call("inspect", "-m", self.model, "b", code=2)[1])

    def test_convert_says_how_it_was_called(self):
        text = self.call("convert", "--help")[0]
        self.assertIn("usage: dermis convert IN", text)
        self.assertNotIn("dermis-convert", text)
        self.assertTrue(self.call("convert", "--type", "x", code=2)[1].startswith("dermis convert: --type"))
        done = subprocess.run([PROGRAM + "-convert", "--help"], capture_output=True, text=True)
        self.assertIn("usage: dermis-convert IN", done.stdout)

    def test_check_without_converter(self):
        alone = shutil.copy(PROGRAM, self.path("dermis"))
        done = subprocess.run([alone, "check", self.model], capture_output=True, env=self.environment)
        self.assertEqual(done.returncode, 13, done.stderr)
        self.write("dermis-convert", b"#!/bin/sh\nexit 1\n")
        os.chmod(self.path("dermis-convert"), 0o755)
        done = subprocess.run([alone, "check", self.model], capture_output=True, env=self.environment)
        self.assertEqual(done.returncode, 13, done.stderr)
        self.assertIn(b"does not start", done.stderr)

    def test_full_disk(self):
        for command in (["predict", "-m", self.model, PHOTO], ["predict", "--json", "-m", self.model, PHOTO],
                        ["inspect", self.model], ["inspect", "--json", "--layers", self.model],
                        ["bench", "-m", self.model, "--repeat", "1"], ["check", self.model],
                        ["predict", "--help"], ["convert", "--help"], ["--help"], ["--version"]):
            with self.subTest(command), open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *command], stdout=full, stderr=subprocess.PIPE,
                                      env=self.environment)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertIn(b"standard output", done.stderr)

    def test_slips(self):
        self.assertIn("did you mean predict?", self.call("predcit", code=2)[1])
        self.assertIn("did you mean check?", self.call("chekc", code=2)[1])
        self.assertNotIn("did you mean", self.call("zzz", code=2)[1])
        self.assertIn("`dermis predict " + PHOTO, self.call(PHOTO, code=2)[1])
        self.assertIn("did you mean --overlay?", self.predict("--overlya", "x", PHOTO, code=2)[1])
        self.assertIn("did you mean --threads?", self.predict("--thread5=2", PHOTO, code=2)[1])
        self.assertNotIn("did you mean", self.predict("--nonsense", PHOTO, code=2)[1])
        self.assertIn("needs a value", self.predict(PHOTO, "--map", code=2)[1])
        error = self.predict("--\x1b[31mred", PHOTO, code=2)[1] + self.call("\x1b]0;x\x07", code=2)[1]
        self.assertNotIn("\x1b", error)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
