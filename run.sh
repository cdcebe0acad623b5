#!/usr/bin/env bash
# Installs what is missing, builds an optimised build/dermis, and predicts two photographs that the
# project carries with the bundled model: ranked classes, and the heat maps as pictures.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/common.sh

# shellcheck disable=SC2086
install_missing $BUILD_PACKAGES
say "Building build/dermis"
build build
say "Predicting examples/*.jpg with the bundled model"
mkdir -p build/overlays
build/dermis predict --overlay build/overlays examples/*.jpg
say "Heat maps over the photographs"
ls -l build/overlays/*
