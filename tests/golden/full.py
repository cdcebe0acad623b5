"""Networks at full width with seven classes and lively weights, made on demand in the form of golden models, for
test_golden to compare: EfficientNetV2-S at 300x300 (`./test.sh --full`), or with --all one of every family of
keras.applications at a size it was made for or half of that.

With random weights a map of ReLU networks hangs on the signs of values near 0, so that Keras in float32 differs from Keras
in float64 by up to 1e-2. What that difference is, is measured here; three times as much is the map's tolerance where that
is more than 2e-3.

  full.py OUT-DIRECTORY --photos FOLDER [--all]
"""
import argparse
import json
import pathlib

import lively
import make
import numpy as np
from lively import keras

ALL = {
    "EfficientNetV2S": 300, "EfficientNetV2B1": 120, "EfficientNetB0": 224, "EfficientNetB3": 150, "MobileNet": 224,
    "MobileNetV2": 224, "MobileNetV3Small": 224, "MobileNetV3Large": 224, "ResNet50": 224, "ResNet101V2": 112,
    "DenseNet121": 224, "Xception": 149, "InceptionV3": 149, "InceptionResNetV2": 149, "VGG16": 112, "VGG19": 64,
    "NASNetMobile": 224, "ConvNeXtTiny": 224, "ConvNeXtBase": 96,
}

parser = argparse.ArgumentParser()
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--photos", required=True)
parser.add_argument("--all", action="store_true")
arguments = parser.parse_args()
make.OUT = arguments.out


def build(name, size):
    keras.backend.clear_session()
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=7)


def allow_for_rounding(folder):
    """Widens the map's tolerance to what float32 costs Keras itself."""
    expected = json.loads((folder / "expected.json").read_text())
    narrow = keras.models.load_model(folder / expected["file"], compile=False)
    config = json.loads(json.dumps(narrow.get_config()).replace("float32", "float64"))
    keras.config.set_floatx("float64")
    wide = type(narrow).from_config(config)
    wide.set_weights([w.astype("float64") for w in narrow.get_weights()])
    x = np.load(folder / "input.npy").astype("float64")
    _, outputs, layer, gradient, _ = lively.answer(wide, x.reshape((1,) + x.shape[-3:]))
    keras.config.set_floatx("float32")
    rounding = 0.0
    for entry in expected["maps"]:
        exact, _, _ = lively.grad_cam(outputs[layer], gradient(layer, entry["class"], entry["score"], entry["flip"]))
        rounding = max(rounding, float(np.abs(exact - np.load(folder / entry["file"]).reshape(exact.shape)).max()))
    expected["tolerances"]["map"] = max(expected["tolerances"]["map"], 3 * rounding)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{folder.name}: Keras's float32 map differs from its float64 map by {rounding:.1e}", flush=True)


for name, size in ALL.items() if arguments.all else [("EfficientNetV2S", 300)]:
    make.write(f"{name}-{size}", lambda: build(name, size), arguments.photos)
    allow_for_rounding(arguments.out / f"{name}-{size}")
