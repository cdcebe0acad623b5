"""One peer in a process of its own: peer.py ENGINE MODEL THREADS REPEAT; prints JSON like `dermis bench`.

Input is random pixels; the first runs (warm-up) are not counted.
"""
import json
import resource
import sys
import time

import numpy as np

WARM_UP = 3


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return entry.shape, lambda x: session.run(None, {entry.name: x})[0]


def openvino(path, threads):
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                             "INFERENCE_PRECISION_HINT": "f32"})
    request = model.create_infer_request()
    return list(model.input(0).shape), lambda x: request.infer([x])[0]


def litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    entry, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x):
        interpreter.set_tensor(entry["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    return list(entry["shape"]), run


def main():
    engine, path, threads, repeat = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    start = time.perf_counter()
    shape, run = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert}[engine](path, threads)
    load_ms = (time.perf_counter() - start) * 1e3
    pixels = np.random.default_rng(1).integers(0, 256, size=[int(n) for n in shape]).astype(np.float32)
    for _ in range(WARM_UP):
        run(pixels)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run(pixels)
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    print(json.dumps({
        "engine": engine, "threads": threads, "load_ms": load_ms,
        "latency_ms": {"p50": times[len(times) // 2], "p95": times[int(len(times) * .95)], "min": times[0]},
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
