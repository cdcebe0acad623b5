#!/bin/sh
# Trains the bundled model from nothing: makes its venv, caches resized photographs, trains, evaluates.
#   training/run.sh [--data DIR] [--epochs N] [--out DIR] ...     (python train.py --help names all options)
# Needs CPython 3.11 (PYTHON=... to name another one), 3 GiB of memory, about 20 minutes on two cores.
set -eu
cd "$(dirname "$0")"

# Paths given by the caller are relative to where the caller stands; train.py resolves them there.
here=$PWD
venv=$here/.venv
if [ ! -f "$venv/ready" ] || ! cmp -s requirements.txt "$venv/ready"; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet -r requirements.txt
    cp requirements.txt "$venv/ready"
fi

cd "$OLDPWD"
exec "$venv/bin/python" -u "$here/train.py" "$@"
