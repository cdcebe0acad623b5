#!/usr/bin/env bash
# EfficientNetV2-S at 300x300: made by Keras, converted, compared. Called by ./test.sh --full; needs the
# build. Photographs: PHOTOS, or those that the project carries.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=build/golden-venv
if ! "$venv/bin/python" -c 'import tensorflow' 2>/dev/null; then
    echo "Installing TensorFlow into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/golden/requirements.txt
fi
out=build/golden-full
if [ ! -f "$out/EfficientNetV2S-300/expected.json" ]; then
    "$venv/bin/python" tests/golden/full.py "$out" --photos "${PHOTOS:-examples}"
fi
build/tests/test_golden "$out"
