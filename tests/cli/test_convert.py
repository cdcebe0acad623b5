"""The converter's process, the cache of what it made, and model files that change under the program."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
import zipfile

from harness import KERAS, PHOTO, PROGRAM, SANITIZED, SOURCE, Case

BAD = os.path.join(SOURCE, "tests/golden/import")
OTHER = os.path.join(SOURCE, "tests/golden/import/good.keras")
BUNDLED = os.path.join(SOURCE, "models/dermis-lite0.gguf")


class Convert(Case):
    def setUp(self):
        super().setUp()
        self.cache = self.path("cache")
        self.keras = shutil.copy(KERAS, self.path("model.keras"))

    def cached(self):
        """Files of the cache; its workplaces are none."""
        folder = os.path.join(self.cache, "dermis")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def by_cache(self, model, code=0, **options):
        return self.call("predict", "--json", "-m", model, PHOTO, code=code,
                         XDG_CACHE_HOME=self.cache, **options)

    def fake(self, script):
        """The program beside a converter that does this."""
        shutil.copy(PROGRAM, self.path("dermis"))
        self.write("dermis-convert", b"#!/bin/sh\n" + script)
        os.chmod(self.path("dermis-convert"), 0o755)

        def run(*arguments):
            done = subprocess.run([self.path("dermis"), *arguments], capture_output=True,
                                  env={**self.environment, "XDG_CACHE_HOME": self.cache}, timeout=60)
            return done.returncode, done.stderr.decode()
        return run

    # ---- the cache ----

    def test_replaced_by_one_of_same_size_and_time(self):
        size = max(os.path.getsize(KERAS), os.path.getsize(OTHER)) + 100
        for path in (self.keras, shutil.copy(OTHER, self.path("other.keras"))):
            pad(path, size)
            os.utime(path, ns=(10**18, 10**18))
        first = json.loads(self.by_cache(self.keras)[0])[0]
        with open(self.path("other.keras"), "rb") as f:
            data = f.read()
        with open(self.keras, "r+b") as f:  # the same inode
            f.write(data)
        os.utime(self.keras, ns=(10**18, 10**18))
        self.assertEqual(os.path.getsize(self.keras), size)
        second = json.loads(self.by_cache(self.keras)[0])[0]
        self.assertNotEqual(len(first["predictions"]), len(second["predictions"]))
        self.assertEqual(len(self.cached()), 2)

    def test_four_at_once(self):
        many = [subprocess.Popen([PROGRAM, "predict", "--json", "-m", self.keras, PHOTO],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env={**self.environment, "XDG_CACHE_HOME": self.cache})
                for _ in range(4)]
        said = [p.communicate(timeout=60) for p in many]
        self.assertEqual([p.returncode for p in many], [0] * 4, said)
        answers = [json.loads(out)[0]["predictions"] for out, _ in said]
        self.assertEqual(answers, answers[:1] * 4)
        self.assertEqual(sum(b"converting" in error for _, error in said), 1, said)
        self.assertEqual(len(self.cached()), 1, self.cached())

    def test_workplace_of_a_dead_parent(self):
        left = os.path.join(self.cache, "dermis", "converting.abcdef")
        os.makedirs(left, mode=0o700)
        os.chmod(os.path.dirname(left), 0o700)
        with open(os.path.join(left, "model.gguf"), "wb") as f:
            f.write(b"half")
        self.by_cache(self.keras)
        self.assertEqual(len(self.cached()), 1, self.cached())
        self.assertTrue(self.cached()[0].endswith(".gguf"))

    def test_errors_of_the_converter_are_the_command_s(self):
        for name, code, text in (("lambda.keras", 10, "'odd' (Lambda)"), ("nan.keras", 9, "NaN"),
                                 ("truncated.keras", 9, "truncated")):
            with self.subTest(name):
                error = self.by_cache(os.path.join(BAD, name), code=code)[1].splitlines()
                self.assertEqual(len(error), 2, error)  # "converting", and why not
                self.assertTrue(error[1].startswith("dermis: "), error)
                self.assertIn(text, error[1])
                self.assertIn(name, error[1])
                self.assertEqual(self.cached(), [])

    # ---- what its owner should know, each time ----

    def test_warnings_are_repeated(self):
        model = os.path.join(BAD, "no_scaling.keras")
        words = "`dermis convert IN OUT.gguf --preprocess 0..1`"
        for attempt in ("converted", "from the cache"):
            with self.subTest(attempt):
                out, error = self.by_cache(model)
                lines = [line for line in error.splitlines() if words in line]
                self.assertEqual(len(lines), 1, error)
                self.assertTrue(lines[0].startswith("dermis: warning: "), error)
                self.assertEqual(len(json.loads(out)), 1)
        for command in ("inspect", "check"):
            self.assertIn(words, self.call(command, model, XDG_CACHE_HOME=self.cache)[0])
        self.assertIn(words, self.call("bench", "-m", model, "--repeat", "1", XDG_CACHE_HOME=self.cache)[1])
        self.assertIn(words, self.call("serve", "-m", model, "--data-dir", "/dev/null/x", code=4,
                                       XDG_CACHE_HOME=self.cache)[1])
        warnings = json.loads(self.call("inspect", "--json", model, XDG_CACHE_HOME=self.cache)[0])["warnings"]
        self.assertEqual(len(warnings), 1)
        self.assertIn(words, warnings[0])
        self.assertEqual(json.loads(self.call("inspect", "--json", self.model)[0])["warnings"], [])
        self.call("convert", model, self.path("said.gguf"), "--preprocess", "none")
        self.assertNotIn("warning", self.call("predict", "-m", self.path("said.gguf"), PHOTO)[1])

    # ---- what is never written over ----

    def test_output_over_another_file(self):
        os.symlink(self.keras, self.path("link.gguf"))
        os.link(self.keras, self.path("same.gguf"))
        with open(PHOTO, "rb") as f, open(KERAS, "rb") as g:
            photo, keras = f.read(), g.read()
        kept = {self.keras: (2, "is to be converted", keras), self.path("link.gguf"): (2, "is to be converted", keras),
                self.path("same.gguf"): (2, "is to be converted", keras),
                self.write("plain.jpg", photo): (14, "another kind of file", photo),
                self.write("e2.h5", b"\x89HDF\r\n\x1a\nrest"): (14, "HDF5", b"\x89HDF\r\n\x1a\nrest"),
                self.write("other.keras", keras): (14, "a Keras model", keras)}
        for out, (code, text, before) in kept.items():
            with self.subTest(out):
                error = self.call("convert", self.keras, out, code=code)[1]
                self.assertIn(out, error)
                self.assertIn(text, error)
                with open(out, "rb") as f:
                    self.assertEqual(f.read(), before)
        for out in (self.write("empty.gguf", b""), self.write("old.gguf", b"GGUF and more")):
            self.call("convert", self.keras, out)
            with open(out, "rb") as f:
                self.assertGreater(len(f.read()), 1000)

    # ---- the death of the converter ----

    def test_killed(self):
        run = self.fake(b'for out; do :; done\n: > "$out"; : > "$out.$$.abcdef"\nkill -9 $$\n')
        code, error = run("predict", "-m", self.keras, PHOTO)
        self.assertEqual(code, 13, error)
        self.assertIn(self.keras + ": the converter was ended from outside (Killed)", error)
        self.assertEqual(self.cached(), [])

    def test_killed_in_convert(self):
        run = self.fake(b'echo kept > "$4.backup"; : > "$4.$$.abcdef"; : > "$4.$$.longer.abcdef"\n'
                        b'kill -SEGV $$\n')
        out = self.path("o.gguf")
        code, error = run("convert", "--type", "f16", self.keras, out)
        self.assertEqual(code, 13, error)
        self.assertTrue(error.startswith("dermis: " + self.keras + ": the converter died of it"), error)
        self.assertEqual(len(error.splitlines()), 1, error)
        left = [name for name in os.listdir(self.here) if name.startswith("o.gguf")]
        self.assertEqual(sorted(name[-14:] for name in left), [".longer.abcdef", "o.gguf.backup"])

    def test_heap_found_broken(self):
        """The C library's own words about a broken heap are not for users."""
        run = self.fake(b"echo 'free(): invalid pointer' >&2; kill -ABRT $$\n")
        code, error = run("predict", "-m", self.keras, PHOTO)
        self.assertEqual(code, 13, error)
        self.assertNotIn("invalid pointer", error)
        self.assertIn("the file is damaged", error)

    @unittest.skipIf(SANITIZED, "sanitizers reserve terabytes of addresses")
    def test_memory_limit(self):
        """A small zip that unpacks to 64 MB."""
        out, big = self.path("o.gguf"), self.path("big.keras")
        with zipfile.ZipFile(KERAS) as z, zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as more:
            more.writestr("config.json", z.read("config.json"))
            more.writestr("model.weights.h5", bytes(64 << 20))
        self.assertIn("--memory", self.call("convert", self.keras, out, "--memory", "12", code=2)[1])
        error = self.call("convert", big, out, "--memory", "48", code=5)[1]
        self.assertIn("allow more with --memory", error)
        self.assertIn("big.keras", error)
        self.assertFalse(os.path.exists(out))

    def test_time_limit(self):
        run = self.fake(b'ulimit -S -t 1; while :; do :; done\n')
        code, error = run("convert", self.keras, self.path("o.gguf"))
        self.assertEqual(code, 13, error)
        self.assertIn("--time", error)

    def test_ended_while_writing(self):
        """Ctrl-C leaves no temporary file: here while an overlay is written."""
        found = False
        for attempt in range(40):
            p = subprocess.Popen([PROGRAM, "predict", "-m", self.model, PHOTO, "--overlay",
                                  self.path("o.png")], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=self.environment)
            end = time.monotonic() + 10
            while p.poll() is None and time.monotonic() < end:
                if any(n.startswith("o.png.") for n in os.listdir(self.here)):
                    p.send_signal(signal.SIGINT)
                    found = True
                    break
            p.wait(timeout=30)
            self.assertEqual([n for n in os.listdir(self.here) if n.startswith("o.png.")], [])
            if found and p.returncode == -signal.SIGINT:
                return
        self.skipTest("the machine was too quick to be interrupted")

    # ---- a model file that changes while it is mapped ----

    def test_cut_short_while_running(self):
        model = shutil.copy(BUNDLED, self.path("cut.gguf"))
        p = subprocess.Popen([PROGRAM, "bench", "-m", model, "--repeat", "100000", "--threads", "2"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)
        try:
            wait_for_map(p, model)
            time.sleep(0.1)
            os.truncate(model, 4096)
            out, error = p.communicate(timeout=60)
        finally:
            p.kill()
        self.assertEqual(p.returncode, 11, error)
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertIn(b"cut short while in use", error)
        self.assertEqual(out, b"")

    def with_pipe(self, change):
        """The answer to two photographs; the first one waits until `change` has been made."""
        pipe, model = self.path("pipe"), shutil.copy(self.model, self.path("m.gguf"))
        os.mkfifo(pipe)
        p = subprocess.Popen([PROGRAM, "predict", "--json", "-m", model, pipe, PHOTO],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)
        with open(pipe, "wb") as f:  # opens when the program does: the model is mapped by then
            change(model)
            with open(PHOTO, "rb") as photo:
                f.write(photo.read())
        out, error = p.communicate(timeout=60)
        return p.returncode, json.loads(out), error.decode()

    def test_cut_short_between_photographs(self):
        code, answers, error = self.with_pipe(lambda model: os.truncate(model, 4096))
        self.assertEqual(code, 11, error)
        self.assertEqual([a["error"]["code"] for a in answers], ["model-changed"] * 2)
        self.assertIn("m.gguf: the file was written to while in use", error)

    def test_written_over(self):
        def change(model):
            with open(model, "r+b") as f:
                f.seek(-64, 2)
                f.write(bytes(64))
        code, answers, error = self.with_pipe(change)
        self.assertEqual(code, 11, error)
        self.assertIn("by renaming", error)

    def test_renamed_into_place(self):
        def change(model):
            os.replace(shutil.copy(BUNDLED, self.path("new.gguf")), model)
        code, answers, error = self.with_pipe(change)
        self.assertEqual(code, 0, error)  # the old one still answers
        self.assertEqual({len(a["predictions"]) for a in answers}, {4})


def pad(path, size):
    """A zip of this size: bytes in front of it are none of its business."""
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:  # the end record's comment; its length stands in the last 2 bytes
        more = size - len(data)
        f.write(data[:-2] + more.to_bytes(2, "little") + bytes(more))


def wait_for_map(process, path):
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with open(f"/proc/{process.pid}/maps") as f:
            if path in f.read():
                return
        time.sleep(0.01)
    raise AssertionError("the model was not mapped")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
