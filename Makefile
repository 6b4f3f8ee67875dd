# `make demo` and `make test` need Python 3.11 or newer with its headers and a C compiler; the rest they get themselves.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find ext -name '*.pyx' -o -name '*.pxi' -o -name '*.h' -o -name '*.c') $(wildcard fastsip/*.pxd) setup.py
ARGS ?=
JOBS ?= 4

.PHONY: setup build demo test browser lint bench perf fuzz debug clean
.DEFAULT_GOAL := build

setup: .venv/.ready

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fastsip needs Python 3.11 or newer; say which with make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "could not make .venv; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "setting up .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "setuptools>=77" "Cython>=3.1,<4"
	@FASTSIP_ONLY=none $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[test]"
	@touch $@

build: build/.built

build/.built: .venv/.ready $(SOURCES)
	@echo "building the compiled layers"
	@mkdir -p build
	@$(BIN)/python setup.py --quiet build_ext --inplace > build/log 2>&1 || { cat build/log >&2; exit 1; }
	@touch $@

demo: build
	@$(BIN)/fastsip demo $(ARGS)

# Without ARGS: what can share the machine in several processes, then what wants it alone; what fails is tried once more.
test: build
ifeq ($(ARGS),)
	@$(BIN)/python tests/twice.py -m "not alone" --numprocesses $(JOBS) --dist loadgroup; first=$$?; \
		$(BIN)/python tests/twice.py -m alone && exit $$first
else
	@$(BIN)/python -m pytest $(ARGS)
endif

# JsSIP in one file, for the tests that drive a browser.
browser: build/browser/jssip.js

build/browser/jssip.js: tests/browser/package.json
	@command -v npm >/dev/null || { echo "npm is not there; on Debian: apt-get install npm" >&2; exit 2; }
	@echo "setting up JsSIP"
	@mkdir -p $(@D)
	@cp $< $(@D)
	@npm install --prefix $(@D) --silent --no-audit --no-fund --no-package-lock
	@$(@D)/node_modules/.bin/esbuild $(@D)/node_modules/jssip/lib/JsSIP.js --bundle --global-name=JsSIP \
		--log-level=warning --outfile=$@

lint: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# Everything there is a figure for; bench/README.md says how to read it.
bench: build .venv/.bench
	@$(BIN)/python bench/suite.py $(ARGS)

# Plots and the parsers from PyPI; what cannot be installed here is named in the results.
.venv/.bench: .venv/.ready
	@echo "setting up the benches"
	@FASTSIP_ONLY=none $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[bench]" \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check matplotlib sipmessage \
		|| echo "no plots and no parsers from PyPI: pip could not install them" >&2
	@touch $@

# Instructions per message against the parent commit; .ci/run runs it.
perf: build
	@$(BIN)/python bench/perf.py $(ARGS)

# Ten minutes of parser and server under mutated messages and sanitizers; ARGS="--seconds 60" for a look.
fuzz: build
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

debug: .venv/.ready
	@touch setup.py
	@FASTSIP_DEBUG=1 $(BIN)/python setup.py --quiet build_ext --inplace --force
	@echo "built with assertions and counted allocation; make clean build goes back"

clean:
	@rm -rf build dist .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache fastsip/*.so
	@find . -name __pycache__ -prune -exec rm -rf {} +
