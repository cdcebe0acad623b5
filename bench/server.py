"""The programs that are driven: started, watched, stopped. Memory is that of the whole tree of processes."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def processes(root):
    """`root` and all below it that still live."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    tree, at = [root], 0
    while at < len(tree):
        tree += [child for child, parent in parents.items() if parent == tree[at]]
        at += 1
    return tree


def total(pids, file, key):
    """The sum, in bytes, of a line of /proc/PID/FILE; 0 for those that have ended."""
    found = 0
    for pid in pids:
        try:
            match = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.M)
        except OSError:
            continue
        found += int(match.group(1)) * 1024 if match else 0
    return found


class Subject:
    """A service that runs and answers, on `port`: with Subject(...) as s. What inherits says in ready() how that is seen."""

    def __init__(self, command, environment=None, cwd=None):
        self.began = time.perf_counter()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=environment, cwd=cwd, start_new_session=True)
        self.highest_pss = 0
        try:
            self.port = self.ready()
        except BaseException:  # an interrupt from the keyboard too: it reaches only this program
            self.stop()
            raise
        self.started = time.perf_counter() - self.began

    def ready(self):
        """Waits until the service answers; returns its port."""
        raise NotImplementedError

    def fail(self, why):
        """Ends with what the service wrote."""
        self.stop()
        self.log.seek(0)
        sys.exit(f"{why}\n{self.log.read().decode(errors='replace')[-3000:]}")

    def rss(self):
        return total(processes(self.process.pid), "status", "VmRSS")

    def peak(self):
        """The most that each process ever had, added up."""
        return total(processes(self.process.pid), "status", "VmHWM")

    def pss(self):
        """Pages that processes share are counted once."""
        return total(processes(self.process.pid), "smaps_rollup", "Pss")

    def look(self):
        """Called during a drive."""
        self.highest_pss = max(self.highest_pss, self.pss())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # a group of its own since the start
            self.process.wait()
        self.process.stdout.close()


class Dermis(Subject):
    """`dermis serve` with a data folder of its own."""

    def __init__(self, build, *settings, prefix=()):
        self.folder = tempfile.TemporaryDirectory()
        super().__init__([*prefix, build / "dermis", "serve", "--port", "0", "--data-dir", self.folder.name + "/data",
                          "--rate-limit", "0", *settings])
        self.plan = self.process.stdout.readline().strip()

    def ready(self):
        found = re.search(r":(\d+)/$", self.process.stdout.readline().strip())
        if not found:
            self.fail("dermis serve did not start")
        return int(found.group(1))

    def stop(self):
        super().stop()
        self.folder.cleanup()
