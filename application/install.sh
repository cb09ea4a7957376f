#!/usr/bin/env bash
# Makes .venv and installs the project into it. `make` runs this once; ENV: COMEM_PYTHON, TORCH, TORCH_INDEX (docs/gpu.md), EXTRAS.
set -euo pipefail

VENV="${1:?the folder of the environment}"
LOG="${2:?the log}"
TELL_SECONDS="${TELL_SECONDS:-10}"
TORCH="${TORCH:-}" TORCH_INDEX="${TORCH_INDEX:-}"
EXTRAS="${EXTRAS:-app,dev}"
VERSION=2.13.0

fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  printf '       %s\n' "$@" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  if [ -n "${COMEM_PYTHON+set}" ] && ! is_new_enough "$COMEM_PYTHON"; then
    fail "COMEM_PYTHON is '$COMEM_PYTHON'; expected a Python 3.11 or newer, with its venv module." "Name one, or unset it."
  fi
  for python in "${COMEM_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$python" ] && is_new_enough "$python"; then echo "$python"; return; fi
  done
  fail "Python 3.11 or newer is needed, with its venv module; found: $(python3 --version 2>&1)." \
    "Install one, or name it: make COMEM_PYTHON=/path/to/python3.12 ..."
}

# One build of torch, before anything else, because a range takes the newest.
install_torch() {
  local index=()
  if [ -n "$TORCH_INDEX" ]; then index=(--extra-index-url "$TORCH_INDEX"); fi
  case "$TORCH" in
    installed) "$VENV/bin/python" -c 'import torch; print("torch", torch.__version__, "of the interpreter is used")' ;;
    default) pip_install "torch==$VERSION" ;;
    '') choose_torch "${index[@]}" ;;
    *) pip_install "${index[@]}" "torch==$VERSION+$TORCH" ;;
  esac
}

# Without a GPU: the CPU build, if pip finds one. The index's plain build is the CUDA build on Linux, gigabytes of it.
choose_torch() {
  if command -v nvidia-smi >/dev/null || [ "$(uname -s)" = Darwin ]; then
    pip_install "$@" "torch==$VERSION"
  elif ! pip_install "$@" "torch==$VERSION+cpu"; then
    echo "pip finds no CPU build of torch $VERSION, so the plain one is installed (on Linux with CUDA, 2.7 GB); see docs/gpu.md"
    pip_install "torch==$VERSION"
  fi
}

pip_install() { "$VENV/bin/pip" install --no-compile "$@"; }

# Each step needs the one before it.
install_all() {
  local seen=()
  if [ "$TORCH" = installed ]; then seen=(--system-site-packages); fi
  { [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "${seen[@]}" "$VENV"; } \
    && install_torch \
    && pip_install -c constraints.txt -e ".[$EXTRAS]" -e ./application \
    && echo "the last step: compiling what was installed, so that every start is quick" \
    && { "$VENV/bin/python" -m compileall -q -j 0 "$VENV/lib" || true; }
}

case "$TORCH" in
  '' | default | installed | cpu | cu[0-9]* | rocm[0-9]* | xpu) ;;
  *) fail "TORCH is '$TORCH'; expected cpu, cu130 (or another build's name), default or installed." ;;
esac
PYTHON=$(find_python)
mkdir -p "$(dirname "$LOG")"
echo "installing into $VENV with $($PYTHON --version) (once, some minutes; log: $LOG)"
: >"$LOG"
# What pip does at present, without its bars and warnings.
STEPS='^ *(Collecting|Downloading|Processing|Building|Installing|Successfully (built|installed)|the last step).*'
tell_step() { grep -aoE "$STEPS" "$LOG" | tail -n 1 | sed -E 's/^ +| \(from .*//g' | cut -c1-100; }
# The sleep that outlives the script must not hold a pipe that the output goes to.
while sleep "$TELL_SECONDS" >/dev/null 2>&1; do echo "  $SECONDS s: $(tell_step)"; done &
trap 'kill $!' EXIT
if ! install_all >>"$LOG" 2>&1; then
  tail -20 "$LOG" >&2
  if grep -q "No matching distribution found for torch" "$LOG"; then
    fail "pip finds no build torch==$VERSION${TORCH:+"+$TORCH"}; the whole log is in $LOG" \
      "Name an index that has it: make TORCH=${TORCH:-cpu} TORCH_INDEX=https://download.pytorch.org/whl/${TORCH:-cpu} ..."
  fi
  fail "the installation failed; the whole log is in $LOG" "The same command continues it."
fi
echo "installed in $SECONDS s"
