"""EfficientNetV2-S at 300x300 with seven classes and lively weights, made on demand in the form of a golden
model: `./test.sh --full` (full.sh) has test_golden compare it.

  full.py OUT-DIRECTORY --photos FOLDER
"""
import argparse
import pathlib

import make
from lively import keras

parser = argparse.ArgumentParser()
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--photos", required=True)
arguments = parser.parse_args()
make.OUT = arguments.out
make.write("efficientnet-v2-s-300",
           lambda: keras.applications.EfficientNetV2S(weights=None, input_shape=(300, 300, 3), classes=7),
           arguments.photos)
