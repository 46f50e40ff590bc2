#!/usr/bin/env bash
# Makes what the project needs, from nothing but a system Python: .venv (Python 3.13) and .local/cloud-venv.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
runs() { "$@" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1; }

# Python 3.13: what the caller says, else one on the path, else pyenv's, else the one that uv downloads.
find_python() {
  if [ -n "${PYTHON:-}" ]; then
    runs "$PYTHON" || { echo "PYTHON=$PYTHON is not a Python 3.13 that runs." >&2; exit 1; }
    command -v "$PYTHON"; return
  fi
  if runs python3.13; then command -v python3.13; return; fi
  local candidate
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python3.13; do
    if runs "$candidate"; then echo "$candidate"; return; fi
  done
  echo 3.13
}

stamp=$(cat requirements-dev.txt requirements-cloud.txt infra/setup.sh | cksum | tr -d ' ')
if [ -x .venv/bin/python ] && [ "$(cat .local/setup.stamp 2>/dev/null)" = "$stamp${PYTHON:-}" ]; then exit 0; fi
mkdir -p .local

if [ ! -x .local/uv/bin/uv ]; then
  echo "Installing uv $UV_VERSION"
  if python3 -m venv .local/uv-venv >/dev/null 2>&1; then
    .local/uv-venv/bin/python -m pip install --quiet --disable-pip-version-check --target .local/uv "uv==$UV_VERSION"
    rm -rf .local/uv-venv
  elif ! python3 -m pip install --quiet --disable-pip-version-check --target .local/uv "uv==$UV_VERSION"; then
    echo "Neither 'python3 -m venv' nor 'python3 -m pip' works: install one of them (on Debian: apt-get install python3-venv)." >&2
    exit 1
  fi
fi
uv() { env -u PYTHONDONTWRITEBYTECODE .local/uv/bin/uv --quiet "$@"; }

python=$(find_python)
echo "Making .venv and .local/cloud-venv with Python 3.13"
for venv in .venv .local/cloud-venv; do
  if ! uv venv --clear --python "$python" "$venv"; then
    echo "There is no Python 3.13 here, and uv could not download one: install it, or say where it is with PYTHON=." >&2
    exit 1
  fi
done
echo "Installing the packages"
uv pip install --require-hashes --compile-bytecode --python .venv/bin/python -r requirements-dev.txt
uv pip install --require-hashes --compile-bytecode --python .local/cloud-venv/bin/python -r requirements-cloud.txt
echo "$stamp${PYTHON:-}" > .local/setup.stamp
