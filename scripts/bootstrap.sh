#!/usr/bin/env bash
# Create .venv if need be and install this checkout into it, with extras:
#
#     scripts/bootstrap.sh dev,docs
#
# Uses uv where it is on PATH or can be installed, else venv and pip. PYTHON=... names an interpreter.
# May be interrupted and run again: what is already there is kept, what is broken is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=${1:?"usage: scripts/bootstrap.sh EXTRA[,EXTRA...]"}
venv=.venv
oldest="3.11"

say() { printf '[bootstrap] %s\n' "$*"; }
die() {
    printf '[bootstrap] error: %s\n' "$*" >&2
    exit 1
}

# Version managers leave commands that only print an error: a candidate has to run.
works() { "$1" -c "import sys; sys.exit(sys.version_info < (${oldest/./, }))" >/dev/null 2>&1; }

has_uv() { uv --version >/dev/null 2>&1; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" || die "PYTHON=$PYTHON is not a working Python >= $oldest"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python python3.13 python3.12 python3.11 python3.14; do
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "no Python >= $oldest on PATH (set PYTHON=/path/to/python)"
}

if [ -e $venv ] && ! works $venv/bin/python; then
    say "$venv is incomplete or too old: making it anew"
    rm -rf $venv
fi

if [ ! -e $venv ]; then
    python=$(find_python)
    say "creating $venv with $("$python" --version)"
    if has_uv; then
        uv venv --quiet --python "$python" $venv
    else
        "$python" -m venv $venv ||
            { rm -rf $venv; die "$python cannot make environments: install its venv module, or uv"; }
    fi
fi

has_pip() { $venv/bin/python -m pip --version >/dev/null 2>&1; }

if has_uv; then
    uv=uv
else
    has_pip || $venv/bin/python -m ensurepip >/dev/null ||
        die "$venv has no pip: delete $venv and run this again, or install uv"
    [ -x $venv/bin/uv ] || say "installing uv into $venv (it resolves and downloads faster than pip)"
    if [ -x $venv/bin/uv ] || $venv/bin/python -m pip install --quiet uv; then
        uv=$venv/bin/uv
    else
        say "uv is not to be had: using pip"
        uv=
    fi
fi

# One command for everything: torch and torchvision must come from one resolution, or their
# binaries do not match.
say "installing rankgrad[$extras] into $venv (the first time this downloads PyTorch)"
if [ -n "$uv" ]; then
    "$uv" pip install --python $venv/bin/python --editable ".[$extras]"
else
    $venv/bin/python -m pip install --editable ".[$extras]"
fi

$venv/bin/python - <<'EOF' || die "the installed torch and torchvision do not work together: delete $venv and run this again"
import torch, torchvision

torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print(f"[bootstrap] ready: torch {torch.__version__}, torchvision {torchvision.__version__}")
EOF

# A wider set of extras contains a narrower one.
for extra in ${extras//,/ }; do touch "$venv/.installed-$extra"; done
