# Sourced by the scripts: a virtual environment in .venv with the project installed in place.

find_python() {
    for python in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$python"
            return
        fi
    done
    echo "expected Python 3.11 or newer, found none; try installing python3" >&2
    exit 1
}

# make_environment EXTRA: install the project with this extra ("" for none) unless that was done before.
make_environment() {
    local extra=$1 python
    python=$(find_python)
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then # none yet, or half of one
        echo "making .venv ..." >&2
        if ! "$python" -m venv .venv; then
            rm -rf .venv
            echo "expected python3 with venv, got an error; try: apt-get install python3-venv" >&2
            exit 1
        fi
        rm -f .venv/installed-*
    fi
    local stamp=".venv/installed-${extra:-plain}"
    if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
        echo "installing charrnn${extra:+ with extra $extra} ..." >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}"
        touch "$stamp"
    fi
}
