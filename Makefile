# Everything from a fresh clone, with Rust, Python 3.12+ and make: `make help`.

VENV := .venv
PEER := .venv-peer
BENCH := .venv-bench
BIN := $(VENV)/bin
# abi3 needs an interpreter to build against; ours is the one in the environment.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# maturin runs pip with its own options.
export PIP_QUIET := 1

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-rust test-python test-full test-witness bench lint format wheel wheel-check clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Make the environment: interpreter, tools, dependencies.

$(VENV)/.ready: pyproject.toml tools/find-python
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

build: setup ## Build the extension into the environment.
	$(BIN)/maturin develop --quiet --extras local

$(PEER)/.ready: tools/peer-requirements.txt tools/find-python
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet -r tools/peer-requirements.txt
	touch $@

# Release code, apart from what tests and demo use.
$(BENCH)/.ready: pyproject.toml tools/find-python
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --group dev
	touch $@

demo: build ## Transcribe real speech through the whole path, on the local endpoint.
	$(BIN)/deepgram-sagemaker demo

test: test-rust test-python ## Run every test.

# Generated cases are the same ones every time: a change that fails is to blame. A full run looks
# for new ones, and more of them.
test-rust: setup
	PROPTEST_RNG_SEED=20 cargo test --quiet --workspace

test-python: build $(PEER)/.ready
	$(BIN)/python -m pytest -q

test-full: build $(PEER)/.ready ## Run every test: whole matrices, new generated cases.
	PROPTEST_CASES=10000 cargo test --quiet --workspace
	$(BIN)/python -m pytest -q --full

test-witness: build ## Build and run clients of other SDKs against the local endpoint.
	$(BIN)/python -m pytest -q --witness -m witness

bench: setup $(BENCH)/.ready $(PEER)/.ready ## Measure, with the alternatives beside in the same run.
	rm -rf build/bench && mkdir -p build/bench
	$(BIN)/maturin build --quiet --release --out build/bench/wheel
	$(BENCH)/bin/python -m pip uninstall --quiet --yes deepgram-sagemaker
	$(BENCH)/bin/python -m pip install --quiet build/bench/wheel/*.whl
	cargo bench --quiet --package dgsm-core
	$(BENCH)/bin/python -m pytest -q benches --benchmark-only --benchmark-json=build/bench/python.json
	$(BENCH)/bin/python benches/streams/harness.py --peer $(PEER)/bin/python --out build/bench
	$(BENCH)/bin/python benches/summary.py --criterion $${CARGO_TARGET_DIR:-target}/criterion --out build/bench

lint: build ## Check form and types; warnings are errors.
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest deepgram_sagemaker._native

format: setup ## Put Rust and Python code in form.
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: setup ## Build the abi3 wheel into dist/.
	$(BIN)/maturin build --release --out dist

wheel-check: wheel ## Install the wheel in clean environments and stream a session from each.
	tools/check-wheel dist/*.whl

clean: ## Remove what was built.
	rm -rf target dist $(VENV) $(PEER) $(BENCH)
