"""What a terminal sees beside a pipe: bars, progress, names of classes in its language."""
import json
import os
import pty
import subprocess
import unittest

from harness import KERAS, PHOTO, PROGRAM, Case

CARD = {"classes": [
    {"code": "AA", "name": {"en": "first kind", "vi": "loại một"}},
    {"code": "BB", "name": "second kind"},
    {"code": "CC", "name": {"de": "dritte Art"}},
    {"code": "DD", "name": {"en": "\x1b[31mred"}},
]}


class Terminal(Case):
    def on_terminal(self, *arguments, stream="stdout", **environment):
        """Exit code and what the program wrote to a pseudo-terminal in the place of that stream."""
        master, slave = pty.openpty()
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: slave}
        clean = {k: v for k, v in self.environment.items() if k not in ("TERM", "NO_COLOR")}
        child = subprocess.Popen([PROGRAM, *arguments], env={**clean, "TERM": "xterm", **environment}, **streams)
        os.close(slave)
        text = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            text += piece
        os.close(master)
        return child.wait(120), text.decode()

    def with_card(self):
        card = self.write("card.json", json.dumps(CARD).encode())
        self.call("convert", KERAS, self.path("m.gguf"), "--classes", card)
        return self.path("m.gguf")

    def test_bars(self):
        arguments = ("predict", "-m", self.model, PHOTO)
        code, text = self.on_terminal(*arguments)
        self.assertEqual(code, 0)
        lines = text.splitlines()[1:-2]
        self.assertTrue(text.splitlines()[-1].startswith("This is no diagnosis."), text)
        self.assertNotIn("diagnosis", self.call(*arguments)[0] + self.on_terminal(*arguments, "--json")[1])
        self.assertEqual([line.count("█") + line.count("░") for line in lines], [30] * 4)
        full = [line.count("█") for line in lines]
        self.assertEqual(full, sorted(full, reverse=True))
        for line, cells in zip(lines, full):
            self.assertAlmostEqual(float(line.split("%")[0]) / 100 * 30, cells, delta=0.52)
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("█", self.on_terminal(*arguments, **environment)[1])

    def test_progress(self):
        arguments = ("convert", KERAS, self.path("out.gguf"))
        code, text = self.on_terminal(*arguments, stream="stderr")
        self.assertEqual(code, 0)
        self.assertIn("\r", text)
        self.assertIn("%", text)
        self.assertNotIn("%", self.on_terminal(*arguments, stream="stderr", TERM="dumb")[1])
        self.assertNotIn("%", self.on_terminal(*arguments, "--quiet", stream="stderr")[1])
        self.assertNotIn("%", self.call(*arguments)[1])

    def test_names(self):
        model = self.with_card()
        for language, first in (("en", "first kind"), ("vi", "loại một")):
            text = self.call("predict", "-m", model, "--lang", language, PHOTO)[0]
            self.assertIn(f"AA  {first}\n", text)
            self.assertIn("BB  second kind\n", text)
            self.assertIn("CC  dritte Art\n", text)
            self.assertIn("DD\n", text)
            self.assertNotIn("\x1b", text)
        self.assertIn("AA  first kind\n", self.call("predict", "-m", model, PHOTO, LC_ALL="fr_FR.UTF-8")[0])
        text = self.call("predict", "-m", model, PHOTO, LC_ALL="vi_VN.UTF-8")[0]
        self.assertIn("loại một", text)
        answer = json.loads(self.call("predict", "-m", model, "--json", "--lang", "vi", PHOTO)[0])[0]
        names = {x["class"]: x.get("name") for x in answer["predictions"]}
        self.assertEqual(names, {"AA": "loại một", "BB": "second kind", "CC": "dritte Art", "DD": None})
        self.assertNotIn("  first", self.predict(PHOTO)[0])


if __name__ == "__main__":
    unittest.main(argv=["test_terminal"])
