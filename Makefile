# The front door. `make` alone lists what there is; every target makes .venv first if it must.

PYTHON ?= python3
FUZZ_SECONDS ?= 180
FUZZ_SEQUENCES ?= 1000000
FUZZ_SCENES ?= 10000
FUZZ_DECISIONS ?= 10000
BIN := .venv/bin
READY := .venv/ready
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iproto
PROTOS := proto/ext_proc.proto proto/access_log.proto
GENERATED := ext_proc_pb2.py ext_proc_pb2.pyi access_log_pb2.py access_log_pb2.pyi
# One test file stays in one process: its fixtures are made once.
PYTEST := $(BIN)/python -m pytest
SPREAD := -n 2 --dist loadfile
E2E_ON_GRPC := SLUICE_TRANSPORT=grpc $(PYTEST) -q $(SPREAD) tests/e2e

.DEFAULT_GOAL := help
# The package as it is shipped: its hot path built as C.
COMPILED := build/compiled
COMPILED_READY := $(COMPILED)/ready
SHIPPED := SLUICE_COMPILED=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/python
.PHONY: help setup run demo check lint test golden proto proto-check e2e compiled compiled-check bench bench-full bench-rolling image-check lock clean fuzz soak
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
	while IFS="$$(printf '\t')" read -r name line; do printf '  %-14s %s\n' "$$name" "$$line"; done

setup: $(READY) ## make .venv from requirements.lock (every other target does it by itself)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Sluice needs Python 3.11 or newer; say which: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## start the gateway on port 5055; Ctrl-C stops it
	@exec $(BIN)/sluice up

demo: $(READY) ## show routing at work, with three mock providers: splits, failover, breaker, copies, why; 10 seconds
	@exec $(BIN)/python examples/demo/demo.py

check: lint proto-check image-check compiled-check ## all that CI runs: format, lint, types, generated code, image, as shipped, tests
	$(E2E_ON_GRPC)
	$(PYTEST) -q $(SPREAD) --ignore tests/e2e

lint: $(READY) ## format, lint, types and structure, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(PYTEST) -q tests/test_structure.py

test: $(READY) ## unit, golden and end-to-end tests, the last through a real Envoy and on both transports
	$(E2E_ON_GRPC)
	@exec $(PYTEST) -q $(SPREAD)

golden: $(READY) ## write the golden files anew; read the diff before you commit it
	SLUICE_GOLDEN=1 $(PYTEST) -q $$(grep -rlE 'SLUICE_GOLDEN|golden' tests --include='test_*.py')

proto: $(READY) ## generate extproc/wire/pb from proto/
	$(PROTOC) --python_out=extproc/wire/pb --pyi_out=extproc/wire/pb $(PROTOS)

proto-check: $(READY) ## fail when extproc/wire/pb is not what proto/ generates
	@new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && \
	$(PROTOC) --python_out="$$new" --pyi_out="$$new" $(PROTOS) && \
	for file in $(GENERATED); do diff -u extproc/wire/pb/$$file "$$new/$$file" || \
	{ echo "extproc/wire/pb/$$file is not what proto/ generates: run make proto" >&2; exit 1; }; done

e2e: $(READY) ## only the tests through a real Envoy, on both transports
	$(E2E_ON_GRPC)
	@exec $(PYTEST) -q $(SPREAD) tests/e2e

compiled: $(COMPILED_READY) ## build the package as it is shipped, below build/compiled; minutes

$(COMPILED_READY): $(READY) setup.py $(shell find extproc -name '*.py')
	SLUICE_COMPILE=1 $(BIN)/python setup.py --quiet build --build-lib $(COMPILED)
	@touch $@

compiled-check: $(COMPILED_READY) ## the tests through a real Envoy and of the transport, as it is shipped
	$(SHIPPED) -m pytest -q $(SPREAD) --import-mode=append tests/test_compiled.py tests/wire tests/e2e

fuzz: $(READY) ## bad input: the dialects for FUZZ_SECONDS (180), FUZZ_SEQUENCES of frames, FUZZ_SCENES on both transports, FUZZ_DECISIONS
	$(BIN)/python -m tests.fuzz.equal --scenes $(FUZZ_SCENES)
	$(BIN)/python -m tests.fuzz.frames --count $(FUZZ_SEQUENCES)
	$(BIN)/python -m tests.routing.decisions --count $(FUZZ_DECISIONS)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: $(COMPILED_READY) ## what an exchange costs, beside what we stand on; under five minutes
	@exec env $(SHIPPED) -m tests.bench.run

bench-full: $(COMPILED_READY) ## the whole grid of it, rolling workers, the dialects, and instructions; half an hour
	$(SHIPPED) -m tests.bench.run --full
	$(SHIPPED) -m tests.bench.rolling
	$(SHIPPED) -m tests.bench.dialects
	$(BIN)/python -m tests.bench.instructions

bench-rolling: $(COMPILED_READY) ## two minutes of load while six workers are replaced: nothing may fail
	@exec env $(SHIPPED) -m tests.bench.rolling

soak: $(COMPILED_READY) ## the long forms of the tests (a quarter of an hour), then 10,000 requests a minute for half an hour: nothing is lost, and memory stays flat
	SLUICE_LONG=1 $(PYTEST) -q -s -m soak tests/e2e
	@exec env $(SHIPPED) -m tests.bench.steady $(ARGS)

image-check: $(READY) ## the Dockerfile's steps as a script, and the compose file against its schema
	$(PYTEST) -q -m '' tests/image

lock: $(READY) ## resolve pyproject.toml anew and write requirements.lock
	@report=$$(mktemp) && trap 'rm -f "$$report"' EXIT && \
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report "$$report" '.[dev]' && \
	$(BIN)/python -c 'import json, sys; \
	found = [i["metadata"] for i in json.load(open(sys.argv[1]))["install"]]; \
	print("# Written by `make lock` from pyproject.toml, the dev extra included."); \
	print(*sorted(m["name"].lower().replace("_", "-") + "==" + m["version"] for m in found if m["name"] != "sluice"), sep="\n")' \
	"$$report" > requirements.lock.new && mv requirements.lock.new requirements.lock

clean: ## remove .venv, caches and what runs left behind
	rm -rf .venv .sluice .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
