#!/usr/bin/env python3
"""Writes fuzz/corpus/model: tiny models with every operator, and the smallest golden models, converted.

  make_model_seeds.py BUILD/dermis-convert

The writer here follows docs/model-format.md and shares nothing with src/model.
"""
import pathlib
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
OUT = HERE / "corpus" / "model"
GOLDEN = ("blank", "grey", "normalization", "used-twice")
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FLOATS = {"conv": 3, "depthwise": 3, "activation": 3, "layernorm": 1, "pad": 1}


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def number(kind, v):
    return text(v) if kind == STRING else struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, value):
    if isinstance(value, list):
        body = struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(number(kind, v) for v in value)
    else:
        body = struct.pack("<I", kind) + number(kind, value)
    return text(key) + body


def aligned(b):
    return b + bytes(-len(b) % 64)


def write(name, nodes, layers=(), cam=-1, classes=("a", "b")):
    """nodes: (operator, inputs, attributes, {role: (dimensions, half)}); weights count up from -0.5."""
    keys = [
        entry("general.architecture", STRING, "dermis"), entry("general.alignment", U32, 64),
        entry("dermis.format_version", U32, 1), entry("general.name", STRING, name),
        entry("dermis.classes", STRING, list(classes)),
        entry("dermis.graph.op", STRING, [n[0] for n in nodes]),
        entry("dermis.graph.name", STRING, [f"{n[0]}{i}" for i, n in enumerate(nodes)]),
        entry("dermis.graph.input_count", U32, [len(n[1]) for n in nodes]),
        entry("dermis.graph.inputs", U32, [i for n in nodes for i in n[1]]),
        entry("dermis.graph.ints", I32, [v for n in nodes for v in n[2][:len(n[2]) - FLOATS.get(n[0], 0)]]),
        entry("dermis.cam.layer", I32, cam)]
    floats = [v for n in nodes for v in n[2][len(n[2]) - FLOATS.get(n[0], 0):]]
    if floats:
        keys.append(entry("dermis.graph.floats", F32, floats))
    if layers:
        keys += [entry("dermis.layers.name", STRING, [f"layer{i}" for i in layers]),
                 entry("dermis.layers.node", U32, list(layers)),
                 entry("dermis.layers.after_activation", BOOL, [i % 2 == 0 for i in layers])]
    about, data = b"", b""
    count = 0
    for i, n in enumerate(nodes):
        for role, (dims, half) in (n[3] if len(n) > 3 else {}).items():
            size = 1
            for d in dims:
                size *= d
            about += text(f"node.{i}.{role}") + struct.pack("<I", len(dims))
            about += struct.pack(f"<{len(dims)}QIQ", *dims, 1 if half else 0, len(data))
            values = [(k * 29 % 97) / 97 - .5 for k in range(size)]
            data += aligned(struct.pack(f"<{size}{'e' if half else 'f'}", *values))
            count += 1
    head = struct.pack("<IIQQ", 0x46554747, 3, count, len(keys)) + b"".join(keys) + about
    (OUT / (name + ".gguf")).write_bytes(aligned(head) + data)


INFINITE = float("inf")


def conv(c, in_c, k=1, stride=1, groups=1, act=0, residual=0, half=False, depthwise=False, bias=True):
    at = [k, k, stride, stride, 1, 1, *[k // 2] * 4, groups, c, act, residual, 0., INFINITE, 0.]
    blocks = groups * -(-(c // groups) // 16)
    weights = {"weight": ([16, k * k * (1 if depthwise else in_c // groups), blocks], half)}
    if bias:
        weights["bias"] = weights["shift"] = ([16 * blocks], False)
    return at, weights


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    image = ("input", [], [6, 5, 3])
    one = ("input", [], [6, 5, 1])
    softmax = [25, 0., 0., 0.]
    write("tail", [image, ("conv", [0], *conv(4, 3, 3, act=1)), ("global_pool", [1], [1]),
                   ("conv", [2], *conv(2, 4, half=True)), ("activation", [3], softmax)], [1], 0)
    write("residual", [image, ("conv", [0], *conv(4, 3, 3, 2, act=3)), ("depthwise", [1], *conv(4, 4, 3, act=1, depthwise=True)),
                       ("global_pool", [2], [1]), ("conv", [3], *conv(4, 4, act=2)), ("binary", [2, 4], [2]),
                       ("conv", [5, 1], *conv(4, 4, act=1, residual=1, half=True)), ("conv", [6, 1], *conv(4, 4, act=5, residual=2)),
                       ("global_pool", [7], [0]), ("conv", [8], *conv(2, 4)), ("activation", [9], softmax)], [1, 6, 7], 2)
    write("shapes", [image, ("pad", [0], [1, 0, 2, 1, .5]), ("slice", [1], [8, 0, 2, -2, 1, -1, 4, 6, 3]),
                     ("resize", [2], [1, 5, 7]), ("resize", [3], [0, 4, 4]), ("pool", [4], [0, 2, 2, 2, 2, 0, 0, 0, 0]),
                     ("pool", [4], [1, 3, 3, 2, 2, 1, 1, 0, 0]), ("concat", [5, 6, 5], [2]), ("reshape", [7], [1, 1, 36]),
                     ("conv", [8], *conv(2, 36, bias=False)), ("activation", [9], softmax)], [4], 0)
    write("vectors", [one, ("affine", [0], [], {"scale": ([1], False), "shift": ([1], False)}),
                      ("prelu", [1], [], {"weight": ([1], False)}), ("prelu", [2], [], {"weight": ([30], False)}),
                      ("layernorm", [3], [1e-3], {"scale": ([1], False), "bias": ([1], False)}),
                      ("binary", [4, 0], [0]), ("binary", [5, 4], [4]), ("binary", [6, 0], [1]),
                      ("global_pool", [7], [1]), ("activation", [8], [2, 0., 0., 0.])], [7], 0)
    write("groups", [image, ("conv", [0], *conv(6, 3, 3, groups=3, act=9)), ("depthwise", [1], *conv(12, 6, 3, 2, depthwise=True, half=True)),
                     ("concat", [2, 2], [0]), ("concat", [3, 3], [1]), ("activation", [4], [27, 0., 0., 0.]),
                     ("reshape", [5], [1, 36, 12]), ("slice", [6], [0, 0, 0, 1, 18, 6, 1, 2, 2]), ("reshape", [7], [1, 1, 4]),
                     ("activation", [8], [26, 0., 0., 0.])], [1, 2], 1, classes="abcd")
    for i in range(0, 25, 4):
        write(f"acts-{i}", [one, *[("activation", [k], [min(i + k, 24), .3, .4, .1]) for k in range(4)],
                            ("conv", [4], *conv(2, 1, 3, act=min(i, 24))), ("global_pool", [5], [1]),
                            ("activation", [6], softmax)], [5], 0)
    for name in GOLDEN:
        source = HERE.parent / "tests" / "golden" / "models" / name / "model.keras"
        subprocess.run([sys.argv[1], str(source), str(OUT / (name + ".gguf"))], check=True, capture_output=True)


if __name__ == "__main__":
    main()
