# Everything from a fresh clone, with Rust, Python 3.12+ and make: `make help`.

VENV := .venv
PEER := .venv-peer
BENCH := .venv-bench
PIPECAT := .venv-pipecat
BIN := $(VENV)/bin
# abi3 needs an interpreter to build against; ours is the one in the environment.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The active environment, and variables that change how Python behaves, do not apply here.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX PIP_USER PIP_TARGET PIP_PREFIX PYTEST_DISABLE_PLUGIN_AUTOLOAD
unexport $(filter PYTHON%,$(.VARIABLES))
# maturin runs pip with its own options.
export PIP_QUIET := 1

# What is compiled for the first time takes minutes, so it is said, and cargo shows its progress. The
# stamps lie with what was compiled.
TARGET := $(or $(CARGO_TARGET_DIR),target)
first = $(if $(wildcard $(TARGET)/.made-$(1)),$(3),$(2))
done = @mkdir -p $(TARGET) && touch $(TARGET)/.made-$(1)
release = @echo "Compiling release code: some minutes the first time."

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-rust test-python test-ray test-sdk-oldest test-sdks test-pipecat test-full test-witness schedules bench pictures lint docs format licenses wheel wheel-check wheels wheel-reproducible clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Make the environment: interpreter, tools, dependencies.

$(VENV)/.ready: pyproject.toml tools/find-python
	@echo "Making $(VENV), with tools and dependencies from the package index: about a minute."
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev --group batches
	touch $@

build: setup ## Build the extension into the environment.
	$(call first,extension,@echo "Compiling the extension and what it needs: about three minutes on two cores the first time.")
	$(BIN)/maturin develop $(call first,extension,,--quiet) --extras local
	$(call done,extension)

$(PEER)/.ready: tools/peer-requirements.txt tools/find-python
	@echo "Making $(PEER), with the earlier release to compare with: about a minute."
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet -r tools/peer-requirements.txt
	touch $@

# Release code, separate from the build that tests and demo use.
$(BENCH)/.ready: pyproject.toml tools/find-python
	@echo "Making $(BENCH), for the measurements: about a minute."
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --group dev
	touch $@

demo: build ## Transcribe real speech through the whole path, on the local endpoint.
	$(BIN)/deepgram-sagemaker demo

test: test-rust test-python test-ray test-sdk-oldest ## Run every test.

# In two parts, each with the extension's package: otherwise the features that the oracles of `wire`
# enable in shared crates would have most of them built twice.
PURE_TESTS := --package dgsm-python --package dgsm-leg --package dgsm-session --package dgsm-wire
NET_TESTS := --package dgsm-python --package dgsm-net --package dgsm-local --package dgsm-gateway
RUST_TESTS = cargo test --quiet $(PURE_TESTS) && cargo test --quiet $(NET_TESTS)

# Generated cases are the same every time, so a failure is the change's fault. A full run generates
# new cases, and more of them.
test-rust: export PROPTEST_RNG_SEED := 20
test-rust: setup
	$(call first,tests,@echo "Compiling the tests in Rust: some more minutes the first time.")
	$(call first,tests,cargo test --no-run $(PURE_TESTS) && cargo test --no-run $(NET_TESTS))
	$(RUST_TESTS)
	$(call done,tests)

# Most tests wait: one more at a time than there are processors, and four at most.
WORKERS = $$($(BIN)/python -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

test-python: build $(PEER)/.ready
	$(PYTEST) --ignore tests/ray

# One Ray for all of them, whose processes take the whole machine.
test-ray: build
	$(BIN)/python -m pytest -q tests/ray

# Tests that depend on the AWS SDK, with another version of it first on the path.
SDK := aws-sdk-sagemaker-runtime-http2
SDK_QUICK := tests/aws/test_operation.py tests/e2e/test_first_session.py tests/test_discretion.py
SDK_ALL := tests/aws tests/test_transport.py tests/test_discretion.py tests/test_package.py \
	tests/e2e/test_first_session.py tests/e2e/test_failures.py tests/e2e/test_survival.py \
	tests/e2e/test_rollover.py
with_sdk = PYTHONPATH=$(CURDIR)/build/sdk-$(1) $(BIN)/python

build/sdk-oldest/.ready: pyproject.toml $(VENV)/.ready
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --target $(@D) '$(SDK)==0.6.*'
	touch $@

test-sdk-oldest: build build/sdk-oldest/.ready
	$(call with_sdk,oldest) -c 'from importlib.metadata import version as v; print("$(SDK)", v("$(SDK)"))'
	$(call with_sdk,oldest) -m pytest -q $(SDK_QUICK)

test-sdks: build build/sdk-oldest/.ready ## Run what depends on the AWS SDK with its oldest and newest version.
	rm -rf build/sdk-newest
	$(BIN)/python -m pip install --quiet --target build/sdk-newest '$(SDK)<1'
	for which in oldest newest; do \
		export PYTHONPATH=$(CURDIR)/build/sdk-$$which; \
		$(BIN)/python -c 'from importlib.metadata import version as v; print("$(SDK)", v("$(SDK)"))' && \
		$(BIN)/python -m pytest -q $(SDK_ALL) || exit 1; \
	done

PIPECAT_TESTS := tests/pipecat tests/examples/test_pipecat_bot.py

# pipecat is 0.5 GB with what it needs, and needs an earlier AWS SDK than the environment has.
$(PIPECAT)-%/.ready: tools/find-python
	@echo "Making $(@D), with pipecat: about a minute."
	python=$$(tools/find-python 3.12) && "$$python" -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

test-pipecat: build $(PIPECAT)-lowest/.ready $(PIPECAT)-newest/.ready ## Run the tests of pipecat's services with its lowest and newest release.
	$(PIPECAT)-lowest/bin/python -m pip install --quiet 'pipecat-ai==1.3.*'
	$(PIPECAT)-newest/bin/python -m pip install --quiet --upgrade 'pipecat-ai<2'
	for which in lowest newest; do \
		export VIRTUAL_ENV=$(CURDIR)/$(PIPECAT)-$$which; \
		python=$$VIRTUAL_ENV/bin/python; \
		$(BIN)/maturin develop --quiet --extras cli,pipecat --group tests && \
		$$python -c 'from importlib.metadata import version as v; print("pipecat-ai", v("pipecat-ai"))' && \
		$$python -m pytest -q -n $(WORKERS) --dist worksteal -W ignore::DeprecationWarning $(PIPECAT_TESTS) || exit 1; \
	done

test-full: export PROPTEST_CASES := 10000
test-full: build $(PEER)/.ready test-sdks test-pipecat test-ray ## Run every test: whole matrices, new generated cases.
	$(RUST_TESTS)
	$(PYTEST) --full --ignore tests/ray

schedules: build ## Run N=10000 random schedules of faults, the first with the seed FIRST=200.
	$(PYTEST) tests/e2e/test_random_faults.py -k everything \
		--schedules $(or $(N),10000) --first $(or $(FIRST),200)

test-witness: build ## Build and run clients of other SDKs against the local endpoint.
	$(call first,witness,@echo "Compiling clients of other SDKs without showing it: some minutes the first time.")
	$(BIN)/python -m pytest -q --witness -m witness
	$(call done,witness)

bench: setup $(BENCH)/.ready $(PEER)/.ready ## Measure, with the alternatives beside in the same run.
	rm -rf build/bench && mkdir -p build/bench
	$(call first,release,$(release))
	$(BIN)/maturin build $(call first,release,,--quiet) --release --out build/bench/wheel
	$(call done,release)
	$(BENCH)/bin/python -m pip uninstall --quiet --yes deepgram-sagemaker
	$(BENCH)/bin/python -m pip install --quiet build/bench/wheel/*.whl
	$(call first,bench,@echo "Compiling the benchmarks: some minutes the first time.")
	cargo bench $(call first,bench,,--quiet) --no-run --package dgsm-benches
	$(call done,bench)
	cargo bench --quiet --package dgsm-benches
	$(BENCH)/bin/python -m pytest -q benches --benchmark-only --benchmark-json=build/bench/python.json
	$(BENCH)/bin/python benches/streams/harness.py --peer $(PEER)/bin/python --out build/bench
	cargo build --quiet --release --package dgsm-benches --example gateway_load
	$(BENCH)/bin/python benches/streams/gateway.py --peer $(PEER)/bin/python --out build/bench \
		--load $${CARGO_TARGET_DIR:-target}/release/examples/gateway_load
	$(BENCH)/bin/python benches/summary.py --criterion $${CARGO_TARGET_DIR:-target}/criterion --out build/bench

pictures: setup $(BENCH)/.ready ## Make the pictures of the command line in docs/pictures.
	$(call first,release,$(release))
	rm -rf build/pictures && tools/build-wheel host build/pictures
	$(call done,release)
	$(BENCH)/bin/python -m pip uninstall --quiet --yes deepgram-sagemaker
	$(BENCH)/bin/python -m pip install --quiet "$$(echo build/pictures/*.whl)[local]"
	$(BENCH)/bin/python tools/pictures.py docs/pictures

lint: build docs ## Check form, types and documentation; warnings are errors.
	cargo fmt --all --check
	$(call first,lint,@echo "Checking the code in Rust: some minutes the first time.")
	cargo clippy $(call first,lint,,--quiet) --workspace --all-targets -- --deny warnings
	cargo clippy $(call first,lint,,--quiet) --package dgsm-python --no-default-features -- --deny warnings
	$(call done,lint)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/python -m mypy.stubtest deepgram_sagemaker._native
	$(BIN)/uv lock --check --quiet
	$(BIN)/python tools/third_party.py --check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/gateway/compose.yaml
	$(BIN)/zizmor --offline --quiet --no-progress .github

docs: export NO_MKDOCS_2_WARNING := 1
docs: setup ## Build the documentation's site into build/site.
	$(BIN)/python -m mkdocs build --quiet

format: setup ## Put Rust and Python code in form.
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

licenses: setup ## Collect the licences of all crates, and the SBOM, after a change of Cargo.lock.
	$(BIN)/python tools/third_party.py

wheel: setup ## Build the abi3 wheel for this machine into dist/.
	$(call first,release,$(release))
	tools/build-wheel host dist
	$(call done,release)

wheel-check: setup ## Build it, install it in clean environments, stream a session from each.
	$(call first,release,$(release))
	rm -rf build/wheel
	tools/build-wheel host build/wheel
	$(call done,release)
	tools/check-wheel build/wheel/*.whl

# zig links for any Linux; docs/platforms.md says which compiler has which target.
LINUX := x86_64-unknown-linux-gnu x86_64-unknown-linux-musl \
	aarch64-unknown-linux-gnu aarch64-unknown-linux-musl

wheels: setup ## Build the wheels for every Linux into dist/, and show what they need.
	$(BIN)/python -m pip install --quiet --group wheels
	rm -rf dist
	for target in $(LINUX); do tools/build-wheel $$target dist || exit 1; done
	$(BIN)/python tools/wheel_contents.py dist/*.whl
	$(BIN)/python tools/linux_tags.py dist/*.whl
	$(BIN)/abi3audit --strict --summary dist/*.whl

wheel-reproducible: setup ## Build the wheel twice, in two folders, and compare.
	tools/reproduce-wheel

clean: ## Remove what was built.
	rm -rf target dist build $(VENV) $(PEER) $(BENCH) $(PIPECAT)-*
