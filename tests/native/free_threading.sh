#!/usr/bin/env bash
# Runs the kernel tests on a free-threaded CPython (3.13t or later), without the GIL.
#
#   tests/native/free_threading.sh                 the interpreter `python3.14t` or `python3.13t`
#   PYTHON=/path/to/python3.13t tests/native/free_threading.sh
#   tests/native/free_threading.sh --build         on Debian: builds one from Debian's source first
#   ... -k streams                                 further arguments are for pytest
#
# Debian has no package of a free-threaded interpreter and the package index none either; its source
# package of CPython builds one in a quarter of an hour on one core.
set -euo pipefail
source "$(dirname "$0")/common.sh"

# Debian's source of CPython 3.13, configured without the GIL, in a folder of its own.
build_interpreter() {
  local here=$work/cpython
  [[ -e $here/complete ]] && return
  say "CPython 3.13 without the GIL from Debian's source: $here"
  local apt=$here/apt
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$here/source"
  : >"$apt/status"
  echo "deb-src http://deb.debian.org/debian trixie main" >"$apt/sources.list"
  cat >"$apt/conf" <<CONF
APT::Sandbox::User "root";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
CONF
  apt-get install -y -q build-essential dpkg-dev libffi-dev libssl-dev zlib1g-dev
  (
    cd "$here/source"
    export APT_CONFIG=$apt/conf
    apt-get update -q
    apt-get source --download-only python3.13
    rm -rf tree
    # Without Debian's patches, whose search for packages does not know this kind of build.
    dpkg-source --no-check --skip-patches -x python3.13_*.dsc tree
    cd tree
    ./configure --disable-gil --without-ensurepip --disable-test-modules --prefix="$here" >"$here/configure.log"
    make -j "$(nproc)" >"$here/make.log" 2>&1
    make altinstall >"$here/install.log" 2>&1
  )
  touch "$here/complete"
}

if [[ ${1:-} == --build ]]; then
  shift
  build_interpreter
  python=$work/cpython/bin/python3.13t
elif [[ -z ${PYTHON:-} ]]; then
  python=$(command -v python3.14t || command -v python3.13t) || {
    echo "no free-threaded interpreter: set PYTHON, or build one with $0 --build" >&2
    exit 2
  }
fi
"$python" -c 'import sysconfig; assert sysconfig.get_config_var("Py_GIL_DISABLED"), "it has a GIL"'

say "environment and build: $work/free-threaded"
# Newer ones of hypothesis have a native part, for which there is no wheel without the GIL. NumPy has
# wheels, but its latest one perhaps not for this interpreter: an earlier wheel is preferred to
# compiling it.
environment free-threaded --prefer-binary "${build_packages[@]}" "${test_packages[@]}" \
  "hypothesis<6.151"
install_unrolled free-threaded -Ccmake.define.UNROLLED_SKIP_ISAS="$(missing_isas)"

say "kernel tests without the GIL"
# An extension that does not declare itself safe would turn the GIL on again, with a warning.
python -W error -c 'import sys, unrolled; assert not sys._is_gil_enabled(); print(sys.version)'
mapfile -t files < <(kernel_test_files)
cd "$root"
python -m pytest -q -p no:cacheprovider -p no:benchmark "$@" "${files[@]}"
