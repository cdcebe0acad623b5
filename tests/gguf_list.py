"""PyPI's `gguf`, a reader that no one here wrote, lists a converted file and agrees with `dermis inspect`
on names, shapes and types.

  gguf_list.py BUILD_ROOT SOURCE_ROOT

Needs a Python with tests/requirements.txt: the one that runs this, or DERMIS_TEST_PYTHON (./test.sh makes
it); without one the test is skipped (exit code 77), and says so.
"""
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import gguf
except ImportError:
    other = os.environ.pop("DERMIS_TEST_PYTHON", None)
    if other:
        os.execv(other, [other, *sys.argv])
    print("SKIPPED: no PyPI package gguf; ./test.sh installs it, or set DERMIS_TEST_PYTHON")
    sys.exit(77)

build, root = map(pathlib.Path, sys.argv[1:3])
ROLES = ("weight", "bias", "scale", "shift")


def text(reader, key):
    return bytes(reader.fields[key].parts[-1]).decode()


def array(reader, key):
    field = reader.fields[key]
    values = [field.parts[i] for i in field.data]
    return [bytes(v).decode() for v in values] if field.types[1] == gguf.GGUFValueType.STRING else \
        [v[0].item() for v in values]


def check(path):
    inspected = json.loads(subprocess.run([build / "dermis", "inspect", "--json", "--layers", path], check=True,
                                          capture_output=True).stdout)
    reader = gguf.GGUFReader(path)
    assert text(reader, "general.architecture") == "dermis"
    assert text(reader, "general.name") == inspected["name"], (text(reader, "general.name"), inspected["name"])
    assert reader.alignment == 64
    assert reader.fields["dermis.format_version"].parts[-1][0] == 1
    if inspected["classes"] and "dermis.classes" in reader.fields:
        assert array(reader, "dermis.classes") == inspected["classes"]
    ops = array(reader, "dermis.graph.op")
    names = array(reader, "dermis.graph.name")
    assert len(ops) == len(names) and ops[0] == "input"
    seen, weight_bytes, types = set(), 0, set()
    for tensor in reader.tensors:
        first, node, role = tensor.name.split(".")
        assert first == "node" and role in ROLES and tensor.name not in seen, tensor.name
        seen.add(tensor.name)
        kind = tensor.tensor_type.name
        shape = [int(n) for n in tensor.shape]
        assert kind in ("F32", "F16"), kind
        if ops[int(node)] in ("conv", "depthwise") and role == "weight":
            assert len(shape) == 3 and shape[0] == 16, (tensor.name, shape)
            types.add(kind)
        else:
            assert len(shape) == 1 and kind == "F32", (tensor.name, shape, kind)
        count = 1
        for n in shape:
            count *= n
        assert tensor.data.size == count and tensor.n_bytes == count * (2 if kind == "F16" else 4)
        assert tensor.data_offset % 64 == 0
        weight_bytes += int(tensor.n_bytes)
    for i, op in enumerate(ops):
        if op in ("conv", "depthwise"):
            assert f"node.{i}.weight" in seen, i
    assert weight_bytes == inspected["weight_bytes"], (weight_bytes, inspected["weight_bytes"])
    assert types == {inspected["weight_type"].upper()}, (types, inspected["weight_type"])
    print(f"{pathlib.Path(path).name}: {len(ops)} nodes, {len(seen)} tensors, {weight_bytes} bytes, {types}")


with tempfile.TemporaryDirectory() as folder:
    for kind in ("f32", "f16"):
        out = f"{folder}/{kind}.gguf"
        subprocess.run([build / "dermis-convert", "--type", kind, "--classes", "a,b,c,d",
                        root / "tests" / "golden" / "models" / "convolutions" / "model.keras", out],
                       check=True, stdout=subprocess.DEVNULL)
        check(out)
for bundled in sorted((root / "models").glob("*.gguf")):
    check(str(bundled))
print(f"gguf {importlib.metadata.version('gguf')}: all agree")
