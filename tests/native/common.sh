# Sourced by the scripts beside it: where things are, and the environments that they make.
#
# Everything is made below $UNROLLED_NATIVE, default build/native (git ignores it), and used again
# by the next run. PYTHON=python3.12 uses another interpreter.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${UNROLLED_NATIVE:-$root/build/native}
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$work"

say() { printf '\n=== %s\n' "$*"; }

# What runs the kernel tests, and what builds the module.
test_packages=(numpy "pytest>=8" "pytest-benchmark>=4" "hypothesis>=6.100")
build_packages=("scikit-build-core>=1.1" "pybind11>=3.1" "cmake>=3.28" ninja)

# The tests that run compiled code: kernels, threads, what stands around the layers, bad input.
kernel_tests=(
  test_adaptive_head test_array_layouts test_attention test_bad_input test_batch_norm test_cell_clip
  test_cells test_conv2d test_ctc test_ctc_beam test_custom_cells test_dropout test_efficientnet
  test_fork test_fused_steps test_gate_functions test_gradient_clip test_gradients test_head
  test_initial_states test_kept_memory test_language_model test_layer_widths test_layers test_lookup
  test_masks test_math test_optimizers test_out_of_memory test_pooling test_precision
  test_pronunciations test_ragged test_random test_recompute test_recurrent test_recurrent_dropout
  test_residual test_reversed test_split_products test_streams test_threads test_zoneout
)
kernel_test_files() { printf "$root/tests/%s.py\n" "${kernel_tests[@]}"; }

# environment NAME PACKAGE...: makes the virtual environment $work/NAME and activates it. Its pip is
# installed by that of python3: an interpreter made from Debian's source brings none.
environment() {
  local name=$1
  shift
  if [[ ! -x $work/$name/bin/pip ]]; then
    "$python" -m venv --without-pip "$work/$name"
    python3 -m pip --python "$work/$name/bin/python" install --quiet pip
  fi
  # shellcheck disable=SC1091
  source "$work/$name/bin/activate"
  python -m pip install --quiet "$@"
}

# The instruction sets that are not built: those that this CPU lacks, which no test could run, and
# those of UNROLLED_SKIP_ISAS, which shortens a build ("avx2;avx512_bf16").
missing_isas() {
  local missing=(${UNROLLED_SKIP_ISAS:+"$UNROLLED_SKIP_ISAS"})
  if [[ $(uname -m) == x86_64 ]]; then
    for isa in avx2 avx512f avx512_bf16; do grep -qw "$isa" /proc/cpuinfo || missing+=("${isa%f}"); done
    grep -qw amx_bf16 /proc/cpuinfo || missing+=(avx512_amx)
  fi
  (IFS=';' && printf '%s' "${missing[*]-}")
}

# install_unrolled BUILD_NAME PIP_ARGUMENT...: builds this tree into the active environment.
install_unrolled() {
  local build=$1
  shift
  python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall \
    -Cbuild-dir="$work/$build-build" "$@" "$root"
}
