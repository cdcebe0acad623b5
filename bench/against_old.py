#!/usr/bin/env python3
"""The service that dermis replaces beside dermis: one `.keras` file, the same drive, one go. Prints a Markdown table.

    bench/against_old.py MODEL.keras [--photo FILE.jpg] [--settle 5]

The old service is bench/old_service, a stand-in (its README says what of the old one it has). It gets an environment of its
own in build/bench/old-venv (PyPI, some 2 GB) at the first call. It, dermis with fp32 and dermis with fp16 weights run one
after the other, each as it is deployed, on a fresh data folder. A person's upload is `POST /upload/`, the page behind the
redirect, and the pictures on that page. Before that, all must agree on the photograph: the same classes in the same order,
probabilities within 1e-3 (fp16 weights: 5e-3).

Memory is of all processes of a service: resident, added up, and in brackets proportional (PSS: shared pages count once).
Peaks: each process's highest resident memory (VmHWM), added up, and the highest PSS seen, looked at ten times a second.
"""
import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import drive
from report import Table
from server import Dermis, Subject
from tools import ROOT, WORK, converted, need_build, photographs, venv

OLD = ROOT / "bench" / "old_service"
CLASSES = WORK / "old-classes.json"
ALIKE = {"dermis, fp32": 1e-3, "dermis, fp16": 5e-3}  # rounding the weights moves a probability by itself
UNLOAD_S = 5  # dermis's idle-unload here: five minutes would only be waited for


class Old(Subject):
    """The stand-in under gunicorn, 1 worker with 2 threads."""

    def __init__(self, python, model):
        self.folder = tempfile.TemporaryDirectory()
        environment = {**os.environ, "MODEL_PATH": str(model.resolve()), "DATA_DIR": self.folder.name,
                       "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "DJANGO_SETTINGS_MODULE": "skin.settings"}
        subprocess.run([python, "-m", "django", "migrate", "--run-syncdb", "-v", "0"], cwd=OLD, check=True,
                       env={**environment, "PYTHONPATH": str(OLD)}, stderr=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.wanted_port = free.getsockname()[1]
        super().__init__([python, "-m", "gunicorn", "skin.wsgi", "--workers", "1", "--threads", "2", "--timeout", "300",
                          "--bind", f"127.0.0.1:{self.wanted_port}"], environment, OLD)

    def ready(self):
        while self.process.poll() is None and time.perf_counter() - self.began < 120:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.wanted_port}/health/", timeout=120).close()
                return self.wanted_port
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        self.fail("the old service did not start")

    def stop(self):
        super().stop()
        self.folder.cleanup()


def post(port, path, data, kind):
    """Follows a redirect, as urllib does."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": kind})
    with urllib.request.urlopen(asked, timeout=300) as answer:
        return answer.read().decode()


def ranked(subject, photo):
    """[(class, probability)] of a photograph, the likeliest first."""
    if isinstance(subject, Old):
        body = drive.upload(photo.read_bytes()).partition(b"\r\n\r\n")[2]
        page = post(subject.port, "/upload/", body, "multipart/form-data; boundary=b")
        return [(name, float(percent) / 100) for name, percent in re.findall(r"<li>(.+?): <b>([\d.]+)</b>", page)]
    return [(p["class"], p["probability"]) for p in json.loads(
        post(subject.port, "/api/v1/predict?cam=false", photo.read_bytes(), "image/jpeg"))["predictions"]]


def agree(said):
    """The largest differences from the first, as text; ends where one is too large or a class has another place."""
    (_, right), *others = said.items()
    texts = []
    for name, other in others:
        apart = max(abs(a[1] - b[1]) for a, b in zip(right, other, strict=True))
        if [a[0] for a in right] != [b[0] for b in other] or apart > ALIKE[name]:
            sys.exit(f"{name} does not say what the old service says:\n{other}\n{right}")
        texts.append(f"{name} {apart:.1e}")
    return ", ".join(texts)


def megabytes(resident, proportional):
    return f"{resident / 1e6:.1f} ({proportional / 1e6:.1f})"


def measure(subject, photo, settle):
    """{what: text} of one service that has just started."""
    def memory():
        return megabytes(subject.rss(), subject.pss())

    def people(connections, count):
        out = drive.closed_loop(subject.port, requests, connections, count=count, follow=True, meanwhile=subject.look)
        if len(out.accepted) != count:
            subject.fail(f"of {count} uploads {len(out.accepted)} were answered: {out.fault_text()}, {len(out.refused)} refused")
        return out.accepted

    requests = [drive.upload(photo.read_bytes())]
    rows = {"start to the first answer of `/health/`, s": f"{subject.started:.2f}"}
    time.sleep(settle)
    rows["memory idle, MB"] = memory()
    rows["first upload, s"] = f"{people(1, 1)[0]:.3f}"
    rows["memory after it, MB"] = memory()
    six = people(1, 6)
    rows["six more, one after the other: each, s"] = f"{min(six):.3f} to {max(six):.3f}"
    rows["memory after them, MB"] = memory()
    subject.highest_pss = 0
    eight = people(8, 8)
    subject.look()
    rows["8 people at once: the first, s"] = f"{min(eight):.3f}"
    rows["8 people at once: the last, s"] = f"{max(eight):.3f}"
    rows["memory at its peak, MB"] = megabytes(subject.peak(), subject.highest_pss)
    time.sleep(UNLOAD_S + settle)
    rows[f"memory {UNLOAD_S + settle:.0f} s after the last answer, MB"] = memory()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="7 classes; that of tests/golden/full.sh will do")
    parser.add_argument("--photo", type=Path, help="JPEG of up to 5 MB without an EXIF orientation (12 megapixels, made)")
    parser.add_argument("--settle", type=float, default=5, help="seconds of rest before memory is read (5)")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of the build (build)")
    parser.add_argument("--write", metavar="NAME", help="put the table between NAME's markers in docs/performance.md")
    options = parser.parse_args()
    need_build(options.build)
    if not options.model.is_file():
        sys.exit(f"{options.model}: no such file")
    photo = options.photo or photographs()[1]
    python = venv(WORK / "old-venv", "-r", OLD / "requirements.txt")
    table = re.search(r"CLASSES = \[(.+?)\]", (OLD / "skin/network.py").read_text(), re.S).group(1)
    CLASSES.write_text(json.dumps(re.findall(r'"(.+?)"', table)))

    def dermis(weight_type):
        model = converted(options.model, weight_type, options.build, "old-", "--classes", CLASSES)
        return Dermis(options.build, "-m", model, "--idle-unload", UNLOAD_S)

    subjects = {"old service (stand-in)": lambda: Old(python, options.model), "dermis, fp32": lambda: dermis("f32"),
                "dermis, fp16": lambda: dermis("f16")}
    said, rows = {}, {}
    for name, start in subjects.items():
        print(f"asking {name}", file=sys.stderr)
        with start() as subject:
            said[name] = ranked(subject, photo)
    differences = agree(said)
    for name, start in subjects.items():
        print(f"driving {name}", file=sys.stderr)
        with start() as subject:
            rows[name] = measure(subject, photo, options.settle)
    table = Table(options.write)
    table.line("| | " + " | ".join(rows) + " |")
    table.line("| --- " * (len(rows) + 1) + "|")
    for what in next(iter(rows.values())):
        table.line(f"| {what} | " + " | ".join(row[what] for row in rows.values()) + " |")
    table.line(f"\nA photograph of {photo.stat().st_size / 1e6:.2f} MB. All rank it alike; the largest differences of a probability "
               f"from the old service's: {differences} (its page shows four digits).")
    table.close()


if __name__ == "__main__":
    main()
