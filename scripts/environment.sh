# Sourced by the other scripts: makes sure there is a Python with the project's packages, as $PYTHON.
# Uses the active virtual environment or conda environment; else makes .venv in the project's folder.
#   source scripts/environment.sh requirements.txt

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
REQUIREMENTS="$ROOT/$1"

if [ -n "${VIRTUAL_ENV:-}" ]; then
    PREFIX="$VIRTUAL_ENV"
elif [ -n "${CONDA_PREFIX:-}" ]; then
    PREFIX="$CONDA_PREFIX"
else
    PREFIX="$ROOT/.venv"
    if [ ! -x "$PREFIX/bin/python" ]; then
        echo "making the virtual environment $PREFIX"
        python3 -m venv "$PREFIX"
    fi
fi
PYTHON="$PREFIX/bin/python"

# Installing what is installed already takes pip seconds; a stamp with the content of the files saves them.
STAMP="$PREFIX/.nonlocal-video-$1.installed"
WANTED="$(cat "$ROOT"/requirements*.txt)"
if [ ! -f "$STAMP" ] || [ "$(cat "$STAMP")" != "$WANTED" ]; then
    echo "installing $1 into $PREFIX"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$REQUIREMENTS"
    printf '%s' "$WANTED" > "$STAMP"
fi
