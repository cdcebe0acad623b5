# common.sh - what run.sh and test.sh share: installing Debian packages that are missing, building.
# Sourced by them from the project's root.

say() { printf '\n== %s\n' "$*"; }

# Libraries of dermis and of its converter, compiler and build tools.
BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libjpeg-dev libpng-dev libwebp-dev
    libjansson-dev libhdf5-dev libzip-dev libmicrohttpd-dev libsqlite3-dev libsodium-dev libminizip-dev"
# Beside them, what the tests use.
TEST_PACKAGES="libcmocka-dev python3 python3-venv binutils clang libclang-rt-14-dev openssl chromium chromium-driver"

# install_missing PACKAGE...: asks dpkg first, so that nothing happens where all is in place.
install_missing() {
    local missing="" package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    say "Installing:$missing"
    if [ "$(id -u)" != 0 ]; then
        echo "These Debian packages are missing:$missing" >&2
        echo "Install them (apt-get install$missing), or run this as root." >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing >/dev/null
}

# build DIRECTORY [meson option...]: sets up once, then builds what changed.
build() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$dir.setup.log" 2>&1 || {
        cat "$dir.setup.log" >&2
        exit 1
    }
    rm -f "$dir.setup.log"
    ninja -C "$dir" --quiet
}
