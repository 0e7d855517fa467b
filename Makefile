# make demo    installs everything and audits a real model; prints where the report is
# make demo-language    the same with a language model and planted secrets
# make demo-whatif      compares five remedies on the digits
# make test    installs everything and runs the tests
# make lint    format, lint, types, architecture: what needs no test
# make check   lint and test, as continuous integration runs them
# make slow    the tests that take minutes
# make bench   runs the quick benchmarks and rewrites benchmarks/RESULTS.md; BENCH="NAME --data DIR" for others
# make docs    builds the documentation into site/, with warnings as errors

PYTHON ?= python3
BIN := .venv/bin
# One process per core, each on one thread; the tests of a file share what they train.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile

.PHONY: demo demo-language demo-whatif test lint check slow bench docs fix clean

demo: .venv/installed
	$(BIN)/memaudit demo demo

demo-language: .venv/installed
	$(BIN)/memaudit demo demo-language --language

demo-whatif: .venv/installed
	$(BIN)/memaudit demo demo-whatif --whatif

test: .venv/installed
	$(PYTEST)

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

slow: .venv/installed
	$(PYTEST) -m slow

bench: .venv/installed
	$(BIN)/python -m benchmarks $(BENCH)

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fix: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo demo-language demo-whatif site

# torch and torchvision must match; the constraints file pins them together with everything else.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[examples,language]" --group dev
	touch $@
