#!/usr/bin/env python3
"""Writes the golden models: small models of every family, with lively weights, and what Keras says of
one photograph. tests/test_golden.c converts each and compares.

  make.py --photos FOLDER [--only NAME]...     (tests/golden/requirements.txt)

Writes tests/golden/models/NAME/: the model's file, input.npy (uint8, h x w x c, the photograph after
Pillow's LANCZOS), probabilities.npy, map.npy, other-map.npy, tensor-N.npy (float32), and expected.json.
Photographs that were used: a folder of skin photographs (PAD-UFES-20, ISIC 2017), any will do.
Keras 2's files are made by the same script in a process of its own with tf_keras.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
import zlib

import numpy as np

import lively
from lively import L, LEGACY, keras

OUT = pathlib.Path(__file__).parent / "models"
STORED = ("named", "operations", "pooling", "sequential")  # left as Keras writes them
BGR = np.array([103.939, 116.779, 123.68], np.float32)
MEAN, DEVIATION = np.array([.485, .456, .406], np.float32), np.array([.229, .224, .225], np.float32)
PREPROCESS = {
    "none": lambda x: x,
    "0..1": lambda x: x / 255,
    "-1..1": lambda x: x / 127.5 - 1,
    "caffe": lambda x: x[..., ::-1] - BGR,
    "torch": lambda x: (x / 255 - MEAN) / DEVIATION,
}


def save(model, folder, form):
    if form == "keras":
        path = folder / "model.keras"
        model.save(path)
        packed = folder / "packed"  # deflated: Keras stores; both must be read
        if 25000 < path.stat().st_size < 5000000 and folder.name not in STORED:
            with zipfile.ZipFile(path) as a, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as b:
                for name in a.namelist():
                    b.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), a.read(name), zipfile.ZIP_DEFLATED, 9)
            packed.replace(path)
        return path.name
    path = folder / "model.h5"
    model.save(path, **({"save_format": "h5"} if LEGACY else {}))
    if form == "h5 named keras":
        path = path.rename(folder / "model.keras")
    return path.name


def write(name, build, photos, preprocess="none", format="keras", type="f32", blank=False, calibrated=True,
          flip_photos=0):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seed = zlib.crc32(name.encode()) % 100000
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = build()
    height, width, channels = model.input_shape[1:]
    images = lively.photographs(photos, 10, height, width, channels)
    scaled = PREPROCESS[preprocess](images)
    if calibrated:
        lively.randomize(model, seed)
        lively.calibrate(model, scaled)
    if type == "f16":
        for _, layer in lively.leaves(model):
            for v in layer.weights:
                if "kernel" in lively.short(v):
                    v.assign(np.asarray(v).astype(np.float16).astype(np.float32))
    best = None
    for i in range(len(images)):  # the photograph whose map depends least on rounding
        p, outputs, target, gradient, _ = lively.answer(model, scaled[i:i + 1])
        winning, flip = int(p.argmax()), False
        if len(p) == 1:
            winning, flip = (1, False) if p[0] >= .5 else (0, True)
        if target is None:
            best = (0, i)
            break
        _, is_blank, stands = lively.grad_cam(
            outputs[target], gradient(target, 0 if len(p) == 1 else winning, "probability", flip))
        score = stands * (.05 if p.max() > .98 else 1)
        if is_blank == blank and (best is None or score > best[0]):
            best = (score, i)
        if not is_blank and score > .15:
            break
    if best is None:
        raise SystemExit(f"{name}: every map is blank")
    i = best[1]
    p, outputs, target, gradient, _ = lively.answer(model, scaled[i:i + 1])
    winning, flip = int(p.argmax()), False
    if len(p) == 1:
        winning, flip = (1, False) if p[0] >= .5 else (0, True)
    np.save(folder / "input.npy", images[i].astype(np.uint8))
    np.save(folder / "probabilities.npy", p.astype(np.float32))
    expected = {"file": save(model, folder, format), "preprocess": preprocess, "type": type,
                "keras": keras.__version__, "winning": winning, "cam_layer": target,
                "tolerances": {"probabilities": 1e-4, "map": 2e-3, "tensors": 1e-3}, "maps": [], "tensors": []}
    if target is not None:
        wanted = [("map.npy", winning, flip, "probability")]
        if len(p) > 1:
            second = int(np.argsort(p)[-2])
            wanted.append(("other-map.npy", second, False, "logit"))
        for file, index, flipped, score in wanted:
            cam, is_blank, stands = lively.grad_cam(
                outputs[target], gradient(target, 0 if len(p) == 1 else index, score, flipped))
            if score == "logit" and stands < .01 and not is_blank:
                continue  # all cancels: rounding alone would decide
            np.save(folder / file, cam)
            expected["maps"].append({"file": file, "class": index, "score": score, "flip": flipped, "blank": is_blank})
    kinds = (L.Activation, L.Add, L.Concatenate, L.MaxPooling2D, L.AveragePooling2D, L.GlobalAveragePooling2D)
    paths = [q for q, l in lively.leaves(model) if isinstance(l, kinds) and q in outputs
             and getattr(getattr(l, "activation", None), "__name__", "") != "linear"  # fused away
             and len(outputs[q].shape) in (2, 4) and 16 <= np.prod(outputs[q].shape) <= 4000]
    for n, path in enumerate(sorted({paths[len(paths) // 3], paths[-1]} if paths else [])):
        value = np.asarray(outputs[path])[0].astype(np.float32)
        np.save(folder / f"tensor-{n}.npy", value)
        expected["tensors"].append({"layer": path, "file": f"tensor-{n}.npy"})
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:32} {size // 1024:4} KiB  {target}  stands out {best[0]:.3f}  p {p.max():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", required=True)
    parser.add_argument("--only", action="append")
    args = parser.parse_args()
    import families
    import handmade
    models = (families.LEGACY_FAMILIES + handmade.LEGACY_MODELS) if LEGACY else families.FAMILIES + handmade.MODELS
    failed = 0
    for name, build, keywords in models:
        if not args.only or any(o in name for o in args.only):
            try:
                write(name, build, args.photos, **keywords)
            except Exception as error:  # the others still get made
                failed += 1
                if os.environ.get("GOLDEN_TRACE"):
                    import traceback
                    traceback.print_exc()
                print(f"{name}: {error!r}"[:1500], file=sys.stderr)
    if not LEGACY:
        failed += subprocess.run([sys.executable, *sys.argv], env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
