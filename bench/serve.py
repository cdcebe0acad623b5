#!/usr/bin/env python3
"""Drives the service and says what it does under load: throughput, latency, memory. Prints Markdown.

  bench/serve.py                     closed loop: 1, 8, 64, 256 connections, small and 12-megapixel photographs
  bench/serve.py --overload          open loop: once and twice the capacity, small and 12-megapixel photographs
  bench/serve.py --memory-of MODEL   fresh, loaded, peak and unloaded memory with a model
  bench/serve.py --soak N            N mixed requests and 50 load/unload rounds: does resident memory creep?
  bench/serve.py --group             100 clients at once in a group of 128 MB

The drive (bench/drive.py) runs on the same machine and takes its share of it; each answer of the API is compared with
`dermis predict --json`. Standard library only; the photographs are made once with Pillow, from PyPI where it is missing.
"""
import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import drive
from report import Table
from server import Dermis
from tools import ROOT, need_build, photographs


def expected(build, photo, model):
    run = subprocess.run([build / "dermis", "predict", "--json", "--lang", "en", *(["-m", model] if model else []), photo],
                         capture_output=True, check=True)
    return [(p["class"], p["probability"]) for p in json.loads(run.stdout)[0]["predictions"]]


def asks(build, photo, stored, model):
    """The request, and what is asked of its answer."""
    body = photo.read_bytes()
    if stored:
        return [drive.upload(body)], None
    right = expected(build, photo, model)
    return [drive.request("POST", "/api/v1/predict", body, "image/jpeg")], lambda answer: [
        (p["class"], p["probability"]) for p in json.loads(answer)["predictions"]] == right


def start(arguments, *settings, prefix=()):
    model = ["-m", arguments.model] if arguments.model else []
    return Dermis(arguments.build, "--upload-limit", "16M", *model, *settings, prefix=prefix)


def predict_rate(arguments, photo, workers, count):
    """Photographs a second of `predict`, one thread a process, as many processes as workers."""
    command = [arguments.build / "dermis", "predict", "--threads", "1", "--json",
               *(["-m", arguments.model] if arguments.model else []), *[photo] * count]
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(workers)]
    for process in running:
        process.wait()
    return workers * count / (time.perf_counter() - began)


def load(arguments, table):
    notes = []
    table.line("| upload | connections | stored | a second | of `predict` | p50 ms | p95 | p99 | 503 | their p99, ms | longest "
               "| faults |")
    table.line("| --- " * 12 + "|")
    for photo in photographs():
        alone = predict_rate(arguments, photo, os.cpu_count(), 60)
        with start(arguments, "--preload") as server:
            for connections, stored in ((1, False), (8, False), (8, True), (64, False), (256, False)):
                requests, check = asks(arguments.build, photo, stored, arguments.model)
                out = drive.closed_loop(server.port, requests, connections, arguments.seconds, check=check)
                table.line(f"| {photo.stem} | {connections} | {'yes' if stored else 'no'} | {out.rate:.1f} "
                           f"| {out.rate / alone:.2f} | {out.ms(.5):.1f} | {out.ms(.95):.1f} | {out.ms(.99):.1f} | {out.refused_text()} "
                           f"| {out.fault_text()} |")
            notes.append(f"{photo.stem} ({photo.stat().st_size / 1e6:.2f} MB): `predict` in {os.cpu_count()} processes "
                         f"{alone:.1f} a second; the server's peak {server.peak() / 1e6:.1f} MB.")
    table.line("\n" + " ".join(notes))


def overload(arguments, table):
    def row(name, out, offered="", ratio="", late=""):
        table.line(f"| {photo.stem} | {name} | {offered} | {out.rate:.1f} | {out.ms(.5):.1f} | {out.ms(.95):.1f} "
                   f"| {out.ms(.99):.1f} | {ratio} | {out.refused_text()} | {out.fault_text()} | {late} | {out.cpu / out.took * 100:.0f} % |")

    table.line("| upload | offered | that is a second | answered a second | p50 ms | p95 | p99 | to that at capacity | 503 "
               "| their p99, ms | longest | faults | drive late p99, ms | drive's CPU |")
    table.line("| --- " * 14 + "|")
    for photo in photographs():
        requests, check = asks(arguments.build, photo, arguments.stored, arguments.model)
        with start(arguments, "--preload") as server:
            found = drive.closed_loop(server.port, requests, 8, arguments.seconds, check=check)
            row("closed loop, 8", found)
            base = None
            for times in (1, 2):
                out = drive.open_loop(server.port, requests, times * found.rate, 2 * arguments.seconds, arguments.seed,
                                      check=check)
                base = base or out.ms(.99)
                row(f"{times} x capacity", out, f"{out.offered:.1f}", f"{out.ms(.99) / base:.2f}", f"{out.late_ms(.99):.1f}")
            # the capacity once more: where it is another now, something else used the machine, and the rows do not count
            row("closed loop, 8, again", drive.closed_loop(server.port, requests, 8, arguments.seconds, check=check))
    table.line(f"\nSeed {arguments.seed}; an answer counts from the moment when its request was due, a 503 from when its headers "
               "were sent.")


def memory_of(arguments, table):
    small, large = photographs()
    arguments.model = arguments.memory_of
    requests, check = asks(arguments.build, large, False, arguments.model)
    table.line("| memory | MB |")
    table.line("| --- | --- |")
    with start(arguments, "--workers", "2", "--idle-unload", "2") as server:
        fresh = server.rss()
        first = drive.closed_loop(server.port, requests, 1, count=1, check=check)
        loaded = server.rss()
        crowd = drive.closed_loop(server.port, requests, 8, arguments.seconds, check=check)
        peak = server.peak()
        time.sleep(4)
        table.line(f"| fresh, {server.started * 1e3:.0f} ms after the start | {fresh / 1e6:.1f} |")
        table.line(f"| loaded, after the first {large.stem} photograph (answered {first.ms(.5):.0f} ms after it was sent) "
                   f"| {loaded / 1e6:.1f} |")
        table.line(f"| peak with 8 clients ({len(crowd.accepted)} answers, {(first.faults + crowd.faults).total()} faults) "
                   f"| {peak / 1e6:.1f} |")
        table.line(f"| unloaded | {server.rss() / 1e6:.1f} |")
        print(server.plan)


def mixed(bodies):
    """300 requests: a quarter photographs (a few large ones), the rest pages and small answers."""
    pages = [drive.request("GET", path) for path in ("/", "/about/", "/nothing", "/login/", "/api/v1/model", "/memory/")]
    photos = [drive.request("POST", "/api/v1/predict", body, "image/jpeg") for body in bodies]
    return [photos[i % 100 == 0] if i % 4 == 0 else pages[i % 6] for i in range(300)]


def soak(arguments, table):
    bodies = [photo.read_bytes() for photo in photographs()]
    requests = mixed(bodies)
    photo = [drive.request("POST", "/api/v1/predict", bodies[0], "image/jpeg")]
    table.line("| memory | MB |")
    table.line("| --- | --- |")
    with start(arguments, "--idle-unload", "1", "--retention", "60") as server:
        drive.closed_loop(server.port, requests, 4, count=2000)
        time.sleep(3)
        warm = server.rss()
        out = drive.closed_loop(server.port, requests, 4, count=arguments.soak)
        time.sleep(3)
        out.faults.pop("status 404", None)  # /nothing
        table.line(f"| {arguments.soak} mixed requests ({out.fault_text()} faults): after the warm-up, at the end "
                   f"| {warm / 1e6:.2f}, {server.rss() / 1e6:.2f} |")
        rounds = []
        for _ in range(50):
            drive.closed_loop(server.port, photo, 2, count=10)
            time.sleep(1.6)
            rounds.append(server.rss())
        table.line(f"| 50 load/unload rounds: first, last, least, most | {rounds[0] / 1e6:.2f}, {rounds[-1] / 1e6:.2f}, "
                   f"{min(rounds) / 1e6:.2f}, {max(rounds) / 1e6:.2f} |")


def group(arguments, table):
    """A control group where one can be made, else RLIMIT_DATA."""
    folder = Path("/sys/fs/cgroup/memory/dermis-bench")
    try:
        folder.mkdir(exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(128 << 20))
        prefix = ["sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$0" "$@"']
        how = "a control group of 128 MB"
    except OSError:
        prefix, how = ["sh", "-c", 'ulimit -d 131072; exec "$0" "$@"'], "RLIMIT_DATA of 128 MB (no control group)"
    table.line(f"| 100 clients at once in {how} | answered | told to come again | faults | peak MB | alive |")
    table.line("| --- | --- | --- | --- | --- | --- |")
    with start(arguments, "--memory", "128M", prefix=prefix) as server:
        for photo in photographs():
            requests, check = asks(arguments.build, photo, False, arguments.model)
            out = drive.closed_loop(server.port, requests, 100, arguments.seconds, check=check)
            table.line(f"| {photo.stem} | {len(out.accepted)} | {len(out.refused)} | {out.fault_text()} | {server.peak() / 1e6:.1f} "
                       f"| {'yes' if server.process.poll() is None else 'no'} |")
        print(server.plan)
    if prefix[2].startswith("echo"):
        folder.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--overload", action="store_true")
    what.add_argument("--memory-of", metavar="MODEL")
    what.add_argument("--soak", metavar="N", type=int)
    what.add_argument("--group", action="store_true")
    parser.add_argument("--stored", action="store_true", help="with --overload: POST /upload/ instead of the API's predict")
    parser.add_argument("--model", help="model file (the bundled one)")
    parser.add_argument("--seconds", type=float, default=8, help="of each drive; those of --overload take twice that (8)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of --overload (1)")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of the build (build)")
    parser.add_argument("--write", metavar="NAME", help="put the table between NAME's markers in docs/performance.md")
    arguments = parser.parse_args()
    need_build(arguments.build)
    run = (overload if arguments.overload else memory_of if arguments.memory_of else soak if arguments.soak
           else group if arguments.group else load)
    table = Table(arguments.write)
    run(arguments, table)
    table.close()


if __name__ == "__main__":
    main()
