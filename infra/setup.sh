#!/usr/bin/env bash
# Makes what the project needs, from nothing but a system Python: .venv (Python 3.13) and .local/cloud-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-uv.txt)

fail() { echo "$*" >&2; exit 1; }
version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
is_313() { [[ $(version "$1") == 3.13.* ]]; }

if [ -n "${PYTHON:-}" ] && ! is_313 "$PYTHON"; then fail "PYTHON=$PYTHON is not a Python 3.13 that runs."; fi

mkdir -p .local
if command -v flock >/dev/null; then exec 9>.local/setup.lock; flock 9; fi # one at a time

# The folder counts too: in a copy of it, the scripts of an environment still start the original's Python.
pins=$(cat requirements-dev.txt requirements-cloud.txt requirements-uv.txt infra/setup.sh | cksum | tr -d ' ')
stamp() { echo "$pins $(version .venv/bin/python) $PWD"; }
if [ -x .local/cloud-venv/bin/python ] && [ "$(cat .local/setup.stamp 2>/dev/null)" = "$(stamp)" ] &&
  { [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version .venv/bin/python)" ]; }; then
  exit 0
fi
# No stamp: the last run was cut short, and what it left is not to be trusted.
finished=$([ ! -f .local/setup.stamp ] || echo yes)
rm -f .local/setup.stamp

# Python 3.13: what the caller says, else one on the path, else pyenv's (its shim on the path may not run).
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3.13}" "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.13.*/bin/python3.13; do
    if is_313 "$candidate"; then command -v "$candidate"; return; fi
  done
}
python=$(find_python)

install_uv() {
  local candidate
  local install=(-m pip install --quiet --disable-pip-version-check --upgrade --target .local/uv
    --no-deps --only-binary=:all: --require-hashes --requirement requirements-uv.txt)
  for candidate in ${python:+"$python"} python3 /usr/bin/python3; do
    if "$candidate" -m venv --clear .local/uv-venv >/dev/null 2>&1; then
      .local/uv-venv/bin/python "${install[@]}"
      rm -rf .local/uv-venv
      return
    fi
    rm -rf .local/uv-venv
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      "$candidate" "${install[@]}"
      return
    fi
  done
  fail "No python3 here has a 'venv' or 'pip' that works: install one (on Debian: apt-get install python3-venv)."
}
if [ "$(.local/uv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
  echo >&2 "Installing uv $UV_VERSION"
  install_uv
fi
uv() { env -u PYTHONDONTWRITEBYTECODE .local/uv/bin/uv --quiet "$@"; }

# An environment is kept where it can be: a local cloud may be running in it.
fits() {
  [ -n "$finished" ] && [[ $(version "$1/bin/python") == ${python:+$(version "$python")}* ]] &&
    is_313 "$1/bin/python" && grep -qsF "'$PWD/$1'" "$1/bin/activate"
}
for venv in .venv .local/cloud-venv; do
  if fits "$venv"; then continue; fi
  echo >&2 "Making $venv with ${python:-a Python 3.13 from uv}"
  if [ -n "$python" ]; then
    uv venv --clear --python "$python" "$venv"
  else
    uv venv --clear --managed-python --python 3.13 "$venv" ||
      fail "There is no Python 3.13 here, and uv could not download one: install it, or say where it is with PYTHON=."
  fi
done
echo >&2 "Installing the packages"
uv pip sync --require-hashes --compile-bytecode --python .venv/bin/python requirements-dev.txt
uv pip sync --require-hashes --compile-bytecode --python .local/cloud-venv/bin/python requirements-cloud.txt
stamp > .local/setup.stamp
