#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: the suites on the optimised build, the same
# once more under the address and undefined-behaviour sanitizers and (what uses threads) under the
# thread sanitizer, then each fuzz target for a short while. The last line is the summary.
#   --quick  only the optimised build
#   --full   also EfficientNetV2-S at 300x300 against Keras (installs TensorFlow, takes minutes)
set -euo pipefail
cd "$(dirname "$0")"
. scripts/common.sh

quick=0 full=0
for argument in "$@"; do
    case $argument in
    --quick) quick=1 ;;
    --full) full=1 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done

# shellcheck disable=SC2086
install_missing $BUILD_PACKAGES $TEST_PACKAGES

# Programs that no one here wrote: one lists a model file, one tries the API against its description.
venv=build/venv
if ! "$venv/bin/python" -c 'import gguf, schemathesis' 2>/dev/null; then
    say "Installing two Python packages for two tests into $venv"
    mkdir -p build
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
fi
export DERMIS_TEST_PYTHON="$PWD/$venv/bin/python"

passed=0 failed=0 skipped=0
# suite BUILD-DIRECTORY [meson test option...]: runs tests, prints those that failed, counts.
suite() {
    local dir=$1
    shift
    rm -f "$dir"/meson-logs/testlog*.json
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" || true
    local counts
    counts=$(python3 scripts/count_tests.py "$dir"/meson-logs/testlog*.json)
    read -r p f s <<<"$counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

say "Optimised build"
build build
suite build

if [ $quick = 0 ]; then
    say "Address and undefined-behaviour sanitizers"
    build build-asan --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
    suite build-asan --timeout-multiplier 5 --no-suite browser

    say "Thread sanitizer"
    build build-tsan --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
    suite build-tsan --timeout-multiplier 5 --suite threads

    say "Fuzzing each target for ${FUZZ_SECONDS:-15} seconds"
    CC=clang build build-fuzz --buildtype=debugoptimized -Dfuzz=true
    for target in build-fuzz/fuzz/fuzz_*; do
        [ -f "$target" ] && [ -x "$target" ] || continue
        name=${target##*/fuzz_}
        work=$(mktemp -d)
        if "$target" -max_total_time="${FUZZ_SECONDS:-15}" -rss_limit_mb=2048 -timeout=20 \
            -artifact_prefix="build-fuzz/" "$work" "fuzz/corpus/$name" \
            >"build-fuzz/$name.log" 2>&1; then
            grep -E 'Done [0-9]+ runs' "build-fuzz/$name.log" | sed "s/^/$name: /"
            passed=$((passed + 1))
        else
            tail -40 "build-fuzz/$name.log"
            failed=$((failed + 1))
        fi
        rm -rf "$work"
    done
fi

if [ $full = 1 ]; then
    say "EfficientNetV2-S at 300x300 against Keras"
    if tests/golden/full.sh; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
