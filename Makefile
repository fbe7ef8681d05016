# Each target makes the virtual environment that it needs and installs the tested versions into it.
# PYTHON names the interpreter that makes it; EXTRA_PIP is passed to pip (another index, say).

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --no-compile $(EXTRA_PIP) -c constraints.txt
LIGHT ?= .venv-light
OUT ?= out/demo

# Packages are installed uncompiled, so Python keeps what it compiles when they are first imported: without that,
# each of the hundred processes that the tests start would compile torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check tests light machines tables clean

demo: $(VENV)/.demo
	$(BIN)/codelength demo --out $(OUT) --json $(OUT)/demo.json

# All three at once, so that no core waits for the others.
test: $(VENV)/.dev $(LIGHT)/.light
	@$(MAKE) --no-print-directory -j3 check light tests

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

tests: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# The plain install, without the extras, tested in an environment that has nothing but it and pytest.
light: $(LIGHT)/.light
	env -u PYTHONPATH $(LIGHT)/bin/python -m pytest --confcutdir=tests/light -p no:cacheprovider tests/light

# The tests again under the instructions and matrix products of other processors, one and two threads; takes
# about an hour. A part of them: make machines TESTS=tests/models
machines: $(VENV)/.dev
	PYTHON=$(BIN)/python tests/machines.sh $(TESTS)

# Bring the tables of README.md up to date with the results that commands have written.
tables: $(VENV)/.dev
	$(BIN)/python -m benchmarks.tables README.md

# PyTorch comes first, on its own: where a build without GPU libraries is at hand, pip then takes that one.
$(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "codelength needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) imagecodecs -e '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) -e '.[dev]'
	touch $@

# Without an index this ends after two tries of ten seconds, in a sentence.
$(LIGHT)/.light: pyproject.toml constraints.txt
	test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet --no-compile --retries 1 --timeout 10 $(EXTRA_PIP) -c constraints.txt -e . pytest || \
		{ echo "the light install needs a package index or a cache of pip, once; name another with EXTRA_PIP" >&2; exit 1; }
	touch $@

clean:
	rm -rf $(VENV) $(LIGHT) out .pytest_cache .ruff_cache .mypy_cache .hypothesis
