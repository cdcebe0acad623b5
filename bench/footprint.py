#!/usr/bin/env python3
"""Memory and start-up of whole `dermis predict` processes on a 12-megapixel baseline JPEG.

    bench/footprint.py MODEL.gguf... [--runs 7] [--threads 1]

For each model: peak resident memory of the process (as the kernel accounts it), wall time from
process start to exit, the forward pass inside it, and what start-up and everything else took
beside it. The photograph is one of examples/ enlarged to 4000 x 3000 (needs Pillow). The page
cache is warm: one run goes before those that count.
"""
import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

from report import Table
from tools import ROOT, WORK, need_build

PHOTO = WORK / "12mp.jpg"


def make_photo():
    from PIL import Image

    source = sorted((ROOT / "examples").glob("*.jpg"))[0]
    PHOTO.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        picture.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(PHOTO, quality=90)


def once(command):
    """Wall milliseconds and the answer of one process."""
    start = time.perf_counter()
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return (time.perf_counter() - start) * 1e3, json.loads(out)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", metavar="NAME", help="put the table between NAME's markers in docs/performance.md")
    options = parser.parse_args()
    need_build(ROOT / "build")
    table = Table(options.write)
    if not PHOTO.exists():
        make_photo()
    table.line("| model | peak resident MB | wall ms | decode ms | run ms | map ms | start-up and rest ms |")
    table.line("| --- | --- | --- | --- | --- | --- | --- |")
    for model in options.models:
        command = [str(ROOT / "build/dermis"), "predict", "-m", model, "--json", "--threads", str(options.threads),
                   str(PHOTO)]
        once(command)
        rows = []
        for _ in range(options.runs):
            wall, answer = once(command)
            # VmHWM, which begins with the program; ru_maxrss would count this script's fork too
            timing, peak = answer["timing_ms"], answer["memory"]["peak_rss_bytes"]
            rest = wall - timing["decode"] - timing["run"] - timing["cam"]
            rows.append((peak / 1e6, wall, timing["decode"], timing["run"], timing["cam"], rest))
        middle = [statistics.median(column) for column in zip(*rows)]
        table.line(f"| {Path(model).name} | " + " | ".join(f"{value:.1f}" for value in middle) + " |")
    table.close()


if __name__ == "__main__":
    main()
