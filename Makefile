# One verb per task; CI calls the same verbs (.ci/run). `make help` lists them.

PYTHON  ?= python3
PROFILE ?= release# cargo profile of the extension: release, or ci (built in a third of the time)
SECONDS ?= 10# per fuzz target
ROUNDS  ?= 5# of the benchmark
QUERIES ?= 10000# of fuzz-sql, by number of shards

VENV := .venv
BIN  := $(VENV)/bin
NATIVE := $(shell find dataplane xds/protos -name target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.proto' -o -name '*.json' -o -name '*.tsv' \) -print) \
          Cargo.toml Cargo.lock pyproject.toml

.PHONY: help build test demo bench fuzz-sql bench-xds conformance-postgres conformance-redis conformance-kafka conformance-xds lint fmt fuzz check lock servers clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

build: $(VENV)/.built-$(PROFILE) ## .venv with the extension and the command midstream

demo: build ## real servers, a shop, rules pushed under traffic, servers killed; ends within 3 minutes
	$(BIN)/midstream demo

test: servers build ## everything, on real servers; installs what it needs
	cargo test --workspace
	$(BIN)/pytest
	$(MAKE) --no-print-directory fuzz SECONDS=3

lint: $(VENV)/.installed ## formatting, warnings as errors, the rules of the house
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pytest -q tests/unit/house

fmt: $(VENV)/.installed ## writes what lint would ask for
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: build ## what can drift: the stub of the extension, the documentation's links
	$(BIN)/python -m mypy.stubtest mesh_core._dataplane
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet

fuzz: ## every fuzz target for SECONDS
	dataplane/fuzz/run $(SECONDS)

fuzz-sql: servers build ## QUERIES random reads over 2 and over 4 shards, compared with one PostgreSQL server
	for shards in 2 4; do PLANNER_SHARDS=$$shards PLANNER_QUERIES=$(QUERIES) $(BIN)/pytest -q -s --timeout 0 tests/integration/planner || exit 1; done

bench: $(VENV)/.built-release ## the ladder and the peers; ROUNDS rounds, a quarter of an hour
	.ci/servers bench
	$(BIN)/python -m tests.bench --rounds $(ROUNDS)

bench-xds: build ## one control plane under 5,000 sidecars, without and with mutual TLS; four minutes; ARGS="--sidecars 500"
	$(BIN)/python -m tests.bench.xds $(ARGS)

conformance-postgres: servers build ## real clients' own test suites, directly and through a sidecar; SUITES="asyncpg django ..." for some of them
	$(BIN)/python -m tests.conformance.postgres $(SUITES)

conformance-redis: servers build ## redis-py's own test suite, on one server and through a sidecar before a cluster; then clients of other languages; SUITES="redis-py-resp3" for one of them
	$(BIN)/python -m tests.conformance.redis $(SUITES)
	$(if $(SUITES),,$(BIN)/python -m tests.conformance.redis.clients)

conformance-kafka: servers build ## Kafka's own tools, Streams and three clients, directly and through a sidecar before one and three brokers, in every mode; SCENES="java-console ..." for some, MODES=prefixed for one
	$(BIN)/python -m tests.conformance.kafka $(if $(MODES),--modes $(MODES)) $(SCENES)

conformance-xds: build ## every rule of xDS as a scenario, in both variants, over gRPC; then Envoy, gRPC Python and grpc-js on our server
	$(BIN)/pytest -q tests/conformance/xds
	$(BIN)/python -m tests.conformance.xds.clients

servers: ## the servers of the tests that PyPI does not have (Debian, as root)
	.ci/servers test

lock: $(VENV)/.installed ## pins what pyproject.toml's ranges give today
	$(BIN)/pip install --quiet --upgrade --upgrade-strategy eager maturin $$($(BIN)/python .ci/requirements.py)
	{ head -n 1 requirements/dev.txt; $(BIN)/pip freeze --exclude-editable --exclude midstream; } > requirements/dev.txt.new
	mv requirements/dev.txt.new requirements/dev.txt

clean: ## the venv and everything built
	rm -rf $(VENV) target dataplane/fuzz/target dist mesh_core/_dataplane*.so

$(VENV)/.installed: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements/dev.txt
	@touch $@

# Without cargo maturin would fetch a toolchain of 650 MB by itself: say it instead.
$(VENV)/.built-$(PROFILE): $(VENV)/.installed $(NATIVE)
	@command -v cargo >/dev/null || { echo "make build needs cargo (Rust 1.85 or later): https://rustup.rs" >&2; exit 1; }
	@rm -f $(VENV)/.built-*
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --profile $(PROFILE) --quiet
	@touch $@
