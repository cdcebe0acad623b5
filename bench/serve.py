#!/usr/bin/env python3
"""Drives the service and says what it does under load: throughput, latency, memory.

  bench/serve.py                     throughput and latency at 1, 8, 64, 256 connections, small and 12-megapixel uploads
  bench/serve.py --memory-of MODEL   idle, loaded, peak and unloaded memory with a model
  bench/serve.py --soak N            N mixed requests and 50 load/unload rounds: does resident memory creep?
  bench/serve.py --group             100 clients at once in a group of 128 MB

Standard library only, but for making the 12-megapixel photograph (Pillow). The drive runs on the same machine and takes its
share of it; every answer of the API is compared with `dermis predict --json`. Prints Markdown.
"""
import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Server:
    def __init__(self, build, *settings, prefix=()):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [*prefix, build / "dermis", "serve", "--port", "0", "--data-dir", self.folder.name + "/data", "--rate-limit", "0",
             *map(str, settings)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        began = time.perf_counter()
        line = self.process.stdout.readline()
        self.started = time.perf_counter() - began
        found = re.search(r":(\d+)/$", line.strip())
        if not found:
            sys.exit(f"the server did not start: {line}")
        self.port = int(found.group(1))
        self.plan = self.process.stdout.readline().strip()

    def status(self, key):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def rss(self):
        return self.status("VmRSS")

    def peak(self):
        return self.status("VmHWM")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.folder.cleanup()
        return code


async def post(reader, writer, path, body, kind):
    writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n".encode())
    writer.write(body)
    await writer.drain()
    return await answer(reader)


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    return status, head, await reader.readexactly(length)


def percentile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


async def drive(port, path, body, kind, connections, seconds, check):
    """Closed loop: each connection sends, waits, sends. Returns latencies of 200s, of 503s, and faults."""
    good, refused, faults = [], [], []
    until = time.perf_counter() + seconds

    async def one():
        reader = writer = None
        while time.perf_counter() < until:
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                began = time.perf_counter()
                status, head, data = await post(reader, writer, path, body, kind)
                took = time.perf_counter() - began
                if status in (200, 201, 303):
                    good.append(took)
                    if not check(data):
                        faults.append("wrong answer")
                elif status == 503:
                    refused.append(took)
                    await asyncio.sleep(0.05)
                else:
                    faults.append(f"status {status}")
                if b"connection: close" in head.lower():
                    writer.close()
                    writer = None
            except (OSError, asyncio.IncompleteReadError) as fault:
                faults.append(type(fault).__name__)
                writer = None
        if writer:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return good, refused, faults, time.perf_counter() - began


def expected(build, photo):
    run = subprocess.run([build / "dermis", "predict", "--json", "--lang", "en", photo], capture_output=True, check=True)
    return json.loads(run.stdout)[0]["predictions"]


def photographs(folder):
    from PIL import Image
    small, large = folder / "small.jpg", folder / "large.jpg"
    picture = Image.open(ROOT / "examples" / "ISIC_0000548.jpg").convert("RGB")
    picture.resize((300, 300)).save(small, quality=90)
    random.seed(1)
    noise = Image.effect_noise((4000, 3000), 24).convert("RGB")
    Image.blend(picture.resize((4000, 3000)), noise, 0.15).save(large, quality=80)
    return small, large


def predict_rate(build, photo, workers, count):
    """Photographs a second of `predict`, one thread a process, as many processes as workers."""
    began = time.perf_counter()
    copies = [photo] * count
    running = [subprocess.Popen([build / "dermis", "predict", "--threads", "1", "--json", *copies], stdout=subprocess.DEVNULL)
               for _ in range(workers)]
    for process in running:
        process.wait()
    return workers * count / (time.perf_counter() - began)


def load(arguments):
    build = arguments.build
    with tempfile.TemporaryDirectory() as folder:
        for photo in photographs(Path(folder)):
            body, right = photo.read_bytes(), expected(build, photo)

            def check(data):
                got = json.loads(data)["predictions"]
                return [(p["class"], p["probability"]) for p in got] == [(p["class"], p["probability"]) for p in right]

            alone = predict_rate(build, photo, os.cpu_count(), 60)
            print(f"\n{photo.stem}: {len(body) / 1e6:.2f} MB; `predict` on {os.cpu_count()} processes: {alone:.1f} a second\n")
            print("| connections | stored | a second | of `predict` | p50 ms | p95 | p99 | 503 | p99 of 503 ms | faults |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
            server = Server(build, "--preload", "--upload-limit", "16M")
            for connections in (1, 8, 64, 256):
                for stored in (False, True):
                    if stored and connections != 8:
                        continue
                    path = "/upload/" if stored else "/api/v1/predict"
                    data, kind = body, "image/jpeg"
                    if stored:
                        data = (b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n"
                                b"Content-Type: image/jpeg\r\n\r\n" + body + b"\r\n--b--\r\n")
                        kind = "multipart/form-data; boundary=b"
                    good, refused, faults, took = asyncio.run(drive(server.port, path, data, kind, connections,
                                                                    arguments.seconds, (lambda _: True) if stored else check))
                    ms = [percentile(good, q) * 1e3 for q in (.5, .95, .99)]
                    print(f"| {connections} | {'yes' if stored else 'no'} | {len(good) / took:.1f} | {len(good) / took / alone:.2f} "
                          f"| {ms[0]:.1f} | {ms[1]:.1f} | {ms[2]:.1f} | {len(refused)} | {percentile(refused, .99) * 1e3:.1f} "
                          f"| {len(faults)} {' '.join(sorted(set(faults)))} |", flush=True)
            print(f"\nresident {server.rss() / 1e6:.1f} MB, peak {server.peak() / 1e6:.1f} MB; {server.plan}")
            server.stop()


def memory_of(arguments):
    with tempfile.TemporaryDirectory() as folder:
        small, large = photographs(Path(folder))
        server = Server(arguments.build, "-m", arguments.memory_of, "--workers", "2", "--idle-unload", "2",
                        "--upload-limit", "16M")
        fresh = server.rss()
        body = large.read_bytes()
        began = time.perf_counter()
        asyncio.run(drive(server.port, "/api/v1/predict", body, "image/jpeg", 1, 0.01, lambda _: True))
        first = time.perf_counter() - began
        loaded = server.rss()
        asyncio.run(drive(server.port, "/api/v1/predict", body, "image/jpeg", 8, arguments.seconds, lambda _: True))
        peak = server.peak()
        time.sleep(4)
        idle = server.rss()
        print(f"start {server.started * 1e3:.0f} ms, fresh {fresh / 1e6:.1f} MB, first answer {first * 1e3:.0f} ms, "
              f"loaded {loaded / 1e6:.1f} MB, peak of 8 clients {peak / 1e6:.1f} MB, unloaded {idle / 1e6:.1f} MB")
        print(server.plan)
        server.stop()


def soak(arguments):
    with tempfile.TemporaryDirectory() as folder:
        small, large = photographs(Path(folder))
        bodies = [small.read_bytes(), large.read_bytes()]
        server = Server(arguments.build, "--idle-unload", "1", "--upload-limit", "16M", "--retention", "60")

        async def mixed(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for i in range(count):
                body = bodies[i % 50 == 0]
                if i % 4 == 0:
                    status, head, _ = await post(reader, writer, "/api/v1/predict", body, "image/jpeg")
                else:
                    path = ("/", "/about/", "/nothing", "/login/", "/api/v1/model", "/memory/")[i % 6]
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                    status, head, _ = await answer(reader)
                if b"connection: close" in head.lower():
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.close()

        async def all_of(count):
            await asyncio.gather(*(mixed(count // 4) for _ in range(4)))

        asyncio.run(all_of(2000))
        time.sleep(3)
        warm = server.rss()
        asyncio.run(all_of(arguments.soak))
        time.sleep(3)
        after = server.rss()
        print(f"{arguments.soak} mixed requests: {warm / 1e6:.2f} MB after the warm-up, {after / 1e6:.2f} MB at the end")
        rounds = []
        for _ in range(50):
            asyncio.run(drive(server.port, "/api/v1/predict", bodies[0], "image/jpeg", 2, 0.05, lambda _: True))
            time.sleep(1.6)
            rounds.append(server.rss())
        print(f"50 load/unload rounds: {rounds[0] / 1e6:.2f} MB after the first, {rounds[-1] / 1e6:.2f} after the last, "
              f"{min(rounds) / 1e6:.2f} to {max(rounds) / 1e6:.2f} between")
        server.stop()


def group(arguments):
    """A control group where one can be made, else RLIMIT_DATA."""
    folder = Path("/sys/fs/cgroup/memory/dermis-bench")
    limit = 128 << 20
    try:
        folder.mkdir(exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        prefix = ["sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$0" "$@"']
        how = "a control group of 128 MB"
    except OSError:
        prefix, how = ["sh", "-c", 'ulimit -d 131072; exec "$0" "$@"'], "RLIMIT_DATA of 128 MB (no control group could be made)"
    with tempfile.TemporaryDirectory() as scratch:
        small, large = photographs(Path(scratch))
        server = Server(arguments.build, "--memory", "128M", "--upload-limit", "16M", *(["-m", arguments.model] if arguments.model else []),
                        prefix=prefix)
        for photo in (small, large):
            good, refused, faults, took = asyncio.run(drive(server.port, "/api/v1/predict", photo.read_bytes(), "image/jpeg", 100,
                                                            arguments.seconds, lambda _: True))
            print(f"{how}, 100 clients, {photo.stem}: {len(good)} answered, {len(refused)} told to come again, {len(faults)} faults "
                  f"{sorted(set(faults))}; peak {server.peak() / 1e6:.1f} MB; alive: {server.process.poll() is None}")
        print(server.plan)
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--model")
    parser.add_argument("--memory-of")
    parser.add_argument("--soak", type=int)
    parser.add_argument("--group", action="store_true")
    arguments = parser.parse_args()
    if arguments.memory_of:
        memory_of(arguments)
    elif arguments.soak:
        soak(arguments)
    elif arguments.group:
        group(arguments)
    else:
        load(arguments)


if __name__ == "__main__":
    main()
