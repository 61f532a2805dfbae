#!/usr/bin/env bash
# Installs the test dependencies and runs linter and tests. Safe to run again.
#   bash scripts/run_tests.sh            the quick tests
#   bash scripts/run_tests.sh --all      the slow ones too
# Other arguments go to pytest, for example: bash scripts/run_tests.sh -k sampling
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh requirements-dev.txt

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
