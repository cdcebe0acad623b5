#!/usr/bin/env bash
# Installs what is missing, builds an optimised build/dermis, predicts two photographs that the project
# carries with the bundled model (ranked classes, heat maps as pictures), and starts the service on
# http://127.0.0.1:8000 until Ctrl-C.
#   --predict  only the prediction
set -euo pipefail
cd "$(dirname "$0")"
. scripts/common.sh

predict_only=0
case ${1:-} in
"") ;;
--predict) predict_only=1 ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

# shellcheck disable=SC2086
install_missing $BUILD_PACKAGES
if [ -x build/dermis ]; then say "Building build/dermis"; else say "Building build/dermis: the first time takes about a minute"; fi
build build
say "Predicting examples/*.jpg with the bundled model"
mkdir -p build/overlays
build/dermis predict --overlay build/overlays examples/*.jpg
say "Heat maps over the photographs"
ls -l build/overlays/*
[ $predict_only = 1 ] && exit 0
say "Serving; accounts and photographs are kept in build/data; Ctrl-C ends"
exec build/dermis serve --host "${DERMIS_HOST:-127.0.0.1}" --port "${DERMIS_PORT:-8000}" --data-dir "${DERMIS_DATA_DIR:-build/data}"
