#!/usr/bin/env bash
# Builds the module under a sanitizer and runs the kernel tests, or another command, on it.
#
#   tests/native/sanitize.sh address                  AddressSanitizer, UndefinedBehaviorSanitizer
#   tests/native/sanitize.sh thread                   ThreadSanitizer
#   tests/native/sanitize.sh address -- COMMAND       COMMAND in that environment instead of pytest
#   tests/native/sanitize.sh thread -k streams        arguments for pytest
#
# Needs GCC with its sanitizers. The interpreter and NumPy are not instrumented: the sanitizer is
# loaded before them, so that it sees their allocations and locks.
set -euo pipefail
source "$(dirname "$0")/common.sh"

sanitizer=${1:-}
case $sanitizer in
  address) libraries=(libasan.so libubsan.so libstdc++.so) ;;
  thread) libraries=(libtsan.so libstdc++.so) ;;
  *)
    echo "usage: $0 address|thread [pytest arguments | -- command]" >&2
    exit 2
    ;;
esac
shift

say "environment and build: $work/$sanitizer"
environment "$sanitizer" "${build_packages[@]}" "${test_packages[@]}" "safetensors>=0.4.3" \
  "sympy>=1.12"
CC=gcc CXX=g++ install_unrolled "$sanitizer" -Ccmake.define.UNROLLED_SANITIZE="$sanitizer" \
  -Ccmake.define.UNROLLED_SKIP_ISAS="$(missing_isas)" -Cinstall.strip=false

preload=
for library in "${libraries[@]}"; do preload+=${preload:+:}$(g++ -print-file-name="$library"); done
# The interpreter is not one of ours: its leaks are not looked for, and its small objects come from
# malloc, where they are watched.
export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
# Cells of tests are compiled with the sanitizer, by a compiler that runs without it.
export CXX="env -u LD_PRELOAD g++"
# More threads than most machines of tests have cores: members of a team are late in every way.
export UNROLLED_NUM_THREADS=${UNROLLED_NUM_THREADS:-4} UNROLLED_OVERSUBSCRIBE=1
# Forking with threads is what some tests are about. Ours is the only instrumented module.
export TSAN_OPTIONS=halt_on_error=1:die_after_fork=0:ignore_noninstrumented_modules=1
TSAN_OPTIONS+=:suppressions=$root/tests/native/tsan.supp

if [[ ${1:-} == -- ]]; then
  shift
  command=("$@")
else
  # A sanitizer ends the process where `new` would throw. Its report goes past pytest, which would
  # keep it to itself until the end that does not come.
  mapfile -t files < <(kernel_test_files | grep -vE "out_of_memory|kept_memory")
  command=(python -m pytest -q --capture=sys -p no:cacheprovider -p no:benchmark "$@" "${files[@]}")
fi
# ThreadSanitizer needs its shadow where address randomisation might put the program.
sanitized() { LD_PRELOAD=$preload setarch "$(uname -m)" --addr-no-randomize "$@"; }
cd "$root"

say "control: a fault that was planted has to be found"
if sanitized python tests/native/control.py "$sanitizer" >"$work/control.log" 2>&1; then
  echo "the sanitizer found nothing" >&2
  exit 1
fi
grep -E "^(==[0-9]+==ERROR|WARNING|SUMMARY): ?(Address|Thread)Sanitizer|SUMMARY" "$work/control.log"

say "${command[*]}"
sanitized "${command[@]}"
