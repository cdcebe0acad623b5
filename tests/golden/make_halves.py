#!/usr/bin/env python3
"""Adds to golden models what Keras says with weights rounded as `dermis convert --type f16` rounds them:
expected-f16.json and its arrays beside the model's own. Needs no photographs.

  make_halves.py [NAME]...     (tests/golden/requirements.txt)

Only kernels are stored in half precision, and that after normalisations behind them are folded in: the
kernel k with the scale s behind it is stored as half(s k), so Keras gets half(s k) / s.
"""
import importlib
import json
import sys

import numpy as np

import lively
from lively import KERNELS, L, keras
from make import OUT, PREPROCESS

FAMILIES = ("convnext", "densenet", "efficientnet-b", "efficientnet-v2-s", "inception-v3", "mobilenet-v3-small",
            "nasnet", "resnet", "resnet-v2", "vgg16", "xception")
LayerScale = importlib.import_module("keras.src.applications.convnext").LayerScale
NOTHING = (L.Dropout, importlib.import_module("keras.src.applications.convnext").StochasticDepth)


def scale_behind(layer):
    """The product of the scales that the converter folds into the layer's kernel, in double precision."""
    scale, at = 1.0, layer
    if getattr(layer, "activation", None) is not None and layer.activation.__name__ != "linear":
        return scale
    while len(at._outbound_nodes) == 1:
        at = at._outbound_nodes[0].operation
        if isinstance(at, L.BatchNormalization):
            gamma = np.float64(at.gamma) if at.scale else 1.0
            scale = scale * (gamma / np.sqrt(np.float64(at.moving_variance) + at.epsilon))
        elif isinstance(at, LayerScale):
            scale = scale * np.float64(at.gamma)
        elif not isinstance(at, NOTHING):
            break
    return scale


def half(kernel, scale):
    folded = (scale * np.float64(kernel)).astype(np.float32)  # the converter rounds twice
    back = np.divide(np.float64(folded.astype(np.float16)), scale, where=scale != 0, out=np.zeros(kernel.shape))
    return back.astype(np.float32)


def round_halves(model):
    for _, layer in lively.leaves(model):
        if not isinstance(layer, KERNELS):
            continue
        for v in layer.weights:
            name, value = lively.short(v), np.asarray(v)
            if "kernel" not in name:
                continue
            scale = scale_behind(layer)
            if isinstance(layer, L.SeparableConv2D) and "depthwise" in name:
                scale = 1.0  # the pointwise kernel behind it takes the normalisation
            elif isinstance(layer, L.DepthwiseConv2D):
                scale = np.broadcast_to(scale, (value.shape[-2] * value.shape[-1],)).reshape(value.shape[-2:])
            v.assign(half(value, np.broadcast_to(scale, value.shape)))


def write(name):
    folder = OUT / name
    first = json.loads((folder / "expected.json").read_text())
    model = keras.models.load_model(folder / first["file"], compile=False, custom_objects={"LayerScale": LayerScale})
    x = PREPROCESS[first["preprocess"]](np.load(folder / "input.npy")[None].astype(np.float32))
    before = lively.answer(model, x)[0]
    round_halves(model)
    p, outputs, target, gradient, _ = lively.answer(model, x)
    expected = {**first, "type": "f16", "probabilities": "probabilities-f16.npy", "maps": [], "tensors": []}
    np.save(folder / expected["probabilities"], p.astype(np.float32))
    for entry in first["maps"]:
        index = 0 if len(p) == 1 else entry["class"]
        cam, blank, _ = lively.grad_cam(outputs[target], gradient(target, index, entry["score"], entry["flip"]))
        file = entry["file"].replace(".npy", "-f16.npy")
        np.save(folder / file, cam)
        expected["maps"].append({**entry, "file": file, "blank": blank})
    (folder / "expected-f16.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{name:24} probabilities moved by {np.abs(p - before).max():.1e}", flush=True)


for each in sys.argv[1:] or FAMILIES:
    write(each)
