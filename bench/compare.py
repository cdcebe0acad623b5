#!/usr/bin/env python3
"""Times dermis beside ONNX Runtime, OpenVINO and LiteRT: one `.keras` file, the same threads, one go.

    bench/compare.py MODEL.keras [--threads 1,2] [--rounds 5] [--repeat 20] [--cpu avx2]

Makes build/bench/venv with the peers (bench/requirements.txt) at the first call, converts the model
once for each engine into build/bench/, then goes round the engines, each time in a process of its
own, so that a drift of the machine's speed meets all alike. Prints for each engine the median of
the rounds' medians, the least latency, the load time, the peak resident memory of the process, and
the ratio to dermis. Resident memory of the peers includes their Python (about 30 MB).

--cpu avx2 holds dermis to AVX2 by its own flag, and OpenVINO by ONEDNN_MAX_CPU_ISA=AVX2; the other
peers have no such switch and are left out.
"""
import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

from report import Table, machine
from tools import ROOT, WORK, converted, need_build, newer, venv

PEERS = ("onnxruntime", "openvino", "litert")


def peers_python():
    """The Python that has the peers."""
    own = os.environ.get("DERMIS_BENCH_VENV")
    return Path(own) / "bin" / "python" if own else venv(WORK / "venv", "-r", ROOT / "bench/requirements.txt")


def prepare(python, model, weight_type):
    """Converts once for each engine; returns engine: path."""
    files = {
        "dermis": converted(model, weight_type),
        "onnxruntime": WORK / f"{model.stem}.onnx",
        "litert": WORK / f"{model.stem}.tflite",
    }
    files["openvino"] = files["onnxruntime"]
    if not newer(files["onnxruntime"], model) or not newer(files["litert"], model):
        subprocess.run([python, str(ROOT / "bench/export.py"), str(model), str(files["onnxruntime"]),
                        str(files["litert"])], check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return files


def measure(python, engine, path, threads, repeat, cpu):
    """One round: {'p50', 'min', 'load_ms', 'peak_rss_bytes'}."""
    environment = dict(os.environ)
    if engine == "dermis":
        command = [str(ROOT / "build/dermis"), "bench", "-m", str(path), "--threads", str(threads),
                   "--repeat", str(repeat), "--json"]
        if cpu:
            command += ["--cpu", cpu]
    else:
        command = [str(python), str(ROOT / "bench/peer.py"), engine, str(path), str(threads), str(repeat)]
        if cpu:
            environment["ONEDNN_MAX_CPU_ISA"] = cpu.upper()
    out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    latency = out["latency_ms"]
    return {"p50": latency["p50"], "min": latency["min"], "load_ms": out.get("load_ms"),
            "peak_rss_bytes": out["peak_rss_bytes"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", default="1,2", help="list of thread counts (1,2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=20, help="forward passes a round (20)")
    parser.add_argument("--type", default="f32", help="dermis's weights: f32 or f16 (f32)")
    parser.add_argument("--cpu", choices=["avx2"], help="hold dermis and OpenVINO to this level")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--write", metavar="NAME", help="put the table between NAME's markers in docs/performance.md")
    options = parser.parse_args()
    need_build(ROOT / "build")
    python = peers_python()

    peers = [p for p in options.peers.split(",") if p]
    if options.cpu:
        peers = [p for p in peers if p == "openvino"]
    engines = ["dermis", *peers]
    files = prepare(python, options.model, options.type)
    print(f"{options.model.name}, {machine()}; {options.rounds} rounds of {options.repeat}"
          + (f"; held to {options.cpu}" if options.cpu else "") + "\n")
    table = Table(options.write)
    table.line("| threads | engine | median ms | least ms | load ms | peak MB | median / dermis |")
    table.line("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in map(int, options.threads.split(",")):
        rounds = {engine: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                rounds[engine].append(measure(python, engine, files[engine], threads, options.repeat, options.cpu))
        base = None
        for engine in engines:
            median = statistics.median(r["p50"] for r in rounds[engine])
            base = base or median
            loads = [r["load_ms"] for r in rounds[engine] if r["load_ms"] is not None]
            load = f"{statistics.median(loads):.0f}" if loads else "-"
            least = min(r["min"] for r in rounds[engine])
            peak = max(r["peak_rss_bytes"] for r in rounds[engine]) / 1e6
            table.line(f"| {threads} | {engine} | {median:.2f} | {least:.2f} | {load} | {peak:.0f} | {median / base:.2f} |")
    table.close()


if __name__ == "__main__":
    main()
