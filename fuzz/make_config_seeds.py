#!/usr/bin/env python3
"""Writes fuzz/corpus/config: config.json of the golden models behind one byte (bit 0: Keras 2), without blanks.

  make_config_seeds.py
"""
import json
import pathlib
import zipfile

HERE = pathlib.Path(__file__).parent
OUT = HERE / "corpus" / "config"
LARGE = 9000  # bytes

OUT.mkdir(parents=True, exist_ok=True)
for path in sorted((HERE.parent / "tests" / "golden" / "models").glob("*/model.keras")):
    if not zipfile.is_zipfile(path):
        continue
    with zipfile.ZipFile(path) as z:
        config = json.loads(z.read("config.json"))
        two = json.loads(z.read("metadata.json"))["keras_version"].startswith("2")
    config.pop("compile_config", None)
    text = json.dumps(config, separators=(",", ":")).encode()
    if len(text) <= LARGE:
        (OUT / (path.parent.name + ".bin")).write_bytes((b"1" if two else b"0") + text)
