#!/bin/sh
# All checks, as CI runs them: style, the import contract, the tests. Arguments go to pytest.
#
#   sh scripts/test.sh
#   sh scripts/test.sh tests/geometry -k boxes
set -eu

cd -- "$(dirname -- "$0")/.."
sh scripts/setup.sh --dev
PATH="$PWD/.venv/bin:$PATH"
export PATH
# One thread a process: two processes of one thread are faster here than one of two.
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

ruff check .
ruff format --check .
lint-imports
pytest -q --numprocesses 2 "$@"
