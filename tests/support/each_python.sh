#!/usr/bin/env bash
# The tests on each Python of this machine that the package says it runs on, one after the other.
# Looks in the path and in pyenv. Arguments go to pytest. Ends with 1 if the tests fail on any of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/support/install_postgres.sh

failed=
for minor in $(seq 11 30); do
    python=
    for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3; do
        if "$candidate" -c "import sys, venv; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
            python=$candidate
        fi
    done
    [ -n "$python" ] || continue
    environment=.venvs/3.$minor
    "$python" -m venv "$environment"
    echo "== $("$environment/bin/python" -VV)"
    "$environment/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
    "$environment/bin/python" -m pytest "$@" || failed="$failed 3.$minor"
done
[ -z "$failed" ] || { echo "failed on Python$failed" >&2; exit 1; }
