# make demo | make test | make check: each sets up .venv by itself on first use, with the versions of requirements.lock.
# make release builds what is published, checks it and tries the wheel in an empty environment.
# make lock renews that file and runs everything; make newest tries the newest packages of all and says what breaks.
# Tests run in two processes of one thread each: on two cores that takes two thirds of the time of one process.
PYTHON ?= python3
VENV ?= .venv
SHELL := bash
LOCK ?= requirements.lock
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test check docs docs-serve release lock newest clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What builds the package is locked too: it is installed first, and the build is not isolated from it.
define install
	@$(PIP) install --quiet $(LOCK:%=--constraint %) "setuptools>=77" && \
	 $(PIP) install --quiet $(LOCK:%=--constraint %) --no-build-isolation --editable "$(1)" || \
	 { echo "make: the versions in $(or $(LOCK),pyproject.toml) could not be installed (pip says why above); if one" \
	   "has left the package index, run 'make lock', which renews requirements.lock." >&2; exit 1; }
endef

$(VENV)/.installed: pyproject.toml $(LOCK) | $(BIN)/python
	$(call install,.)
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(LOCK) | $(BIN)/python
	$(call install,.[test])
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-check: pyproject.toml $(LOCK) | $(BIN)/python
	$(call install,.[test$(comma)check])
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

$(VENV)/.installed-release: pyproject.toml $(LOCK) | $(BIN)/python
	$(call install,.[release])
	@touch $@ $(VENV)/.installed

comma := ,

demo: $(VENV)/.installed
	$(BIN)/linea demo --out demo

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in docs/_build; a warning or a dead link is an error.
docs: $(VENV)/.installed-test
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build
	@echo "open docs/_build/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build 8000

# The wheel may have 36 MiB; W002 is about files that are the same twice, as the tokenizers of the embedded models are.
release: $(VENV)/.installed-release
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents --ignore W002 dist/*.whl
	@size=$$(stat --format %s dist/*.whl); echo "wheel: $$((size / 1048576)) MiB"; test $$size -le $$((36 * 1048576))
	PYTHON=$(abspath $(BIN)/python) .ci/try_wheel dist/*.whl requirements.lock notebooks/01_quickstart.ipynb

# Exact versions for every Python from 3.11 on and every platform; a constraint file of pip's own settings is heeded.
lock: | $(BIN)/python
	$(PIP) install --quiet --upgrade uv
	limits=$$($(PIP) config list 2> /dev/null | sed -nE "s/^(global|:env:)\.constraint='(.*)'$$/\2/p" | tail -n 1); \
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --upgrade \
	  $${limits:+--constraints $$limits} --custom-compile-command "make lock" --quiet --output-file requirements.lock
	$(MAKE) check test demo

# An environment of its own without the lock: what is newer, what pyproject.toml holds back, what fails with it.
newest:
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest LOCK= .venv-newest/.installed-check
	@echo "newer than requirements.lock:"
	@.venv-newest/bin/python -m pip freeze --exclude-editable | tr A-Z_ a-z- | grep -vxFf <(sed 's/ ;.*//' requirements.lock) || echo "  nothing"
	@echo "held back by pyproject.toml or by another package:"
	@.venv-newest/bin/python -m pip list --outdated || true
	.venv-newest/bin/python -m pip check
	$(MAKE) --keep-going VENV=.venv-newest LOCK= check test

clean:
	rm -rf $(VENV) .venv-newest build dist *.egg-info demo docs/_build docs/generated
