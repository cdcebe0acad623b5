"""What the tests of the command share: a converted model, a folder for each test, calls.
Standard library only. Run a test: python3 test_X.py BUILD_DIRECTORY SOURCE_DIRECTORY"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = (os.path.abspath(a) for a in sys.argv[1:3])
PROGRAM = os.path.join(BUILD, "dermis")
KERAS = os.path.join(SOURCE, "tests/golden/models/named/model.keras")
PHOTO = os.path.join(SOURCE, "examples/ISIC_0000548.jpg")
with open(PROGRAM, "rb") as program:  # sanitizers' memory is not the program's
    SANITIZED = b"__asan_init" in program.read()


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.environment = {**os.environ, "XDG_CACHE_HOME": os.path.join(cls.top, "cache")}
        for name in ("DERMIS_MODEL", "DERMIS_CPU"):
            cls.environment.pop(name, None)
        cls.model = os.path.join(cls.top, "model.gguf")
        done = subprocess.run([PROGRAM, "convert", KERAS, cls.model, "--classes", "a,b,c,d"],
                              capture_output=True, env=cls.environment)
        assert done.returncode == 0, done.stderr

    def setUp(self):
        self.here = tempfile.mkdtemp(dir=self.top)

    def path(self, *names):
        return os.path.join(self.here, *names)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def call(self, *arguments, code=0, stdin=None, **environment):
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, input=stdin,
                              env={**self.environment, **environment}, timeout=120)
        error = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, error)
        return done.stdout.decode(), error

    def predict(self, *arguments, **options):
        return self.call("predict", "-m", self.model, *arguments, **options)
