#!/usr/bin/env bash
# Cross-compiles the module for aarch64 and runs the kernel tests on it under qemu-user.
#
#   tests/native/aarch64.sh                    NEON and the generic kernels, all kernel tests
#   tests/native/aarch64.sh -k lstm            arguments for pytest
#
# For Debian and what derives from it, as root the first time: the cross compiler, qemu-user, and an
# aarch64 Python out of Debian's packages, unpacked into a folder (nothing foreign is installed).
# NumPy and pytest are wheels. A second of real hardware takes qemu about twenty.
set -euo pipefail
source "$(dirname "$0")/common.sh"

here=$work/aarch64
sysroot=$here/sysroot
site=$here/site
mkdir -p "$here"

say "cross compiler and emulator"
for program in aarch64-linux-gnu-g++ qemu-aarch64-static; do
  command -v "$program" >/dev/null && continue
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q g++-aarch64-linux-gnu qemu-user-static
  break
done

# A catalogue of its own: the host's list of architectures stays as it is.
if [[ ! -d $sysroot/usr/include ]]; then
  say "aarch64 Python from Debian's packages: $sysroot"
  # shellcheck disable=SC1091
  suite=$(source /etc/os-release && echo "$VERSION_CODENAME")
  apt=$here/apt
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  echo "deb [arch=arm64] http://deb.debian.org/debian $suite main" >"$apt/sources.list"
  cat >"$apt/conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
CONF
  APT_CONFIG=$apt/conf apt-get update -q
  APT_CONFIG=$apt/conf apt-get install -q -y --download-only python3 libpython3-dev libstdc++6
  mkdir -p "$sysroot.partial"
  for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$sysroot.partial"; done
  mv "$sysroot.partial" "$sysroot"
fi
interpreter=$(basename "$(readlink "$sysroot/usr/bin/python3")")
version=${interpreter#python}
# A Python that can be called like any other, also by the tests that start one.
launcher=$here/python
printf '#!/bin/sh\nexec qemu-aarch64-static -L %q -0 %q %q "$@"\n' "$sysroot" "$launcher" \
  "$sysroot/usr/bin/$interpreter" >"$launcher"
chmod +x "$launcher"

say "wheels for aarch64, Python $version: $site"
environment aarch64/tools "${build_packages[@]}"
platforms=()
for tag in manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 manylinux_2_28 \
  manylinux_2_31 manylinux_2_34; do
  platforms+=(--platform "${tag}_aarch64")
done
[[ -d $site/numpy ]] || python -m pip install --quiet --only-binary :all: --implementation cp \
  --python-version "$version" "${platforms[@]}" --target "$site" "${test_packages[@]}"

say "cross build"
# The launcher brings its emulator along: `env` stands where CMake asks for one.
cmake -G Ninja -S "$root" -B "$here/build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  -DCMAKE_CXX_FLAGS="-idirafter $sysroot/usr/include" -DPYBIND11_USE_CROSSCOMPILING=OFF \
  -DCMAKE_CROSSCOMPILING_EMULATOR=/usr/bin/env -DPython_EXECUTABLE="$launcher" \
  -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
  -DPython_INCLUDE_DIR="$sysroot/usr/include/$interpreter" >"$here/configure.log"
cmake --build "$here/build"

# The package, and the few lines of metadata that it asks for its version.
rm -rf "$site/unrolled" "$site"/unrolled-*.dist-info
cp -R "$root/src/python/unrolled" "$site/unrolled"
rm -f "$site"/unrolled/_core*.so
cmake --install "$here/build" --prefix "$site" >/dev/null
number=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
mkdir "$site/unrolled-$number.dist-info"
printf 'Metadata-Version: 2.1\nName: unrolled\nVersion: %s\n' "$number" \
  >"$site/unrolled-$number.dist-info/METADATA"

say "kernel tests on aarch64 under qemu"
# The emulator takes no limit of the address space.
mapfile -t files < <(kernel_test_files | grep -v out_of_memory)
cd "$root"
export PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1
"$launcher" -c 'import platform, unrolled; print(platform.machine(), unrolled.functional.available_isas())'
"$launcher" -m pytest -q -p no:cacheprovider -p no:benchmark "$@" "${files[@]}"
