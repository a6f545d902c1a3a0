# Every task of this project. `make` alone lists them.
#
#   PYTHON       the Python (3.11 – 3.13) that makes .venv; default python3
#   PHOTOS, OUT  of `make demo`: your own folder of photos, and where the result goes
#   OPEN         of `make demo` and `make serve`: 1 opens the page in the browser, signed in
#   TESTS        arguments for pytest; TEST_PROCESSES: how many run them side by side (2)
#   PIP_ARGS     given to pip; for a machine without a GPU, much smaller:
#                make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PHOTOS ?=
OUT ?= out
OPEN ?=
PIP_ARGS ?=
TESTS ?=
TEST_PROCESSES ?= 2
# Several processes share few cores: one thread each, which sleeps while it waits.
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
FUZZ_CALLS ?= 5000

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve test unit e2e test-faults test-fuzz test-postgres test-s3 test-compose audit lint types fmt client settings docs clean

help: ## List the tasks
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv and install everything in it (done by the other tasks when needed)

# Made again when the requirements change.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "personalseg needs Python 3.11, 3.12 or 3.13; say which with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[worker,local,postgres,s3,otel,demo,bench,dev,docs]'
	@touch $@

demo: $(INSTALLED) ## Photos in, personal masks out, through the real service: PHOTOS=/a/folder OUT=out OPEN=1
	$(BIN)/personalseg demo $(if $(PHOTOS),"$(PHOTOS)") --out "$(OUT)" $(if $(OPEN),--open)

serve: $(INSTALLED) ## Run the service on this machine (PERSONALSEG_PORT, PERSONALSEG_DATA_DIR); Ctrl-C stops it
	@exec $(BIN)/personalseg serve $(if $(OPEN),--open)

test: lint types unit e2e ## Everything that must be green: lint, types, imports, tests with real processes

unit: $(INSTALLED) ## The tests that need no deployment (TESTS="-k name" for some of them)
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadfile --ignore=tests/e2e --ignore=tests/faults --ignore=tests/browser $(TESTS)

e2e: $(INSTALLED) ## The tests with a real deployment: processes, signals, restarts, each fault a few times
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadgroup tests/e2e tests/faults $(TESTS)
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadgroup tests/browser $(TESTS)

test-faults: $(INSTALLED) ## The fault suite in its long form, with its table: kills, stops, Redis, databases, disk, clock
	$(BIN)/python -m pytest tests/faults --long $(TESTS)

test-fuzz: $(INSTALLED) ## Schemathesis over the whole OpenAPI document, 5,000 calls and more (FUZZ_CALLS)
	$(BIN)/python -m tests.fuzz --calls $(FUZZ_CALLS)

audit: $(INSTALLED) ## Known vulnerabilities of the installed packages (needs pypi.org; says so where it does not answer)
	$(BIN)/python -m tools.audit

# The rooms that stand on a database or a blob store.
STANDING := tests/app tests/workers

test-postgres: $(INSTALLED) ## The tests of API and workers on PostgreSQL instead of SQLite
	PERSONALSEG_TEST_DATABASE=postgresql $(BIN)/python -m pytest $(STANDING) $(TESTS)

test-s3: $(INSTALLED) ## The tests of API and workers on a bucket instead of a folder
	PERSONALSEG_TEST_STORAGE=s3 $(BIN)/python -m pytest $(STANDING) $(TESTS)

test-compose: $(INSTALLED) ## Build and run the containers, kill workers, scale, down and up again (needs a Docker daemon)
	$(BIN)/python -m tests.compose.walk

lint: $(INSTALLED) ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy

fmt: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Listed only where the benchmark exists.
ifneq ($(wildcard benchmarks/quality.py),)
.PHONY: bench-quality bench-quality-short bench-guard bench-speed bench-layers bench-new-photos bench-memory bench-load bench-uploads
bench-quality: $(INSTALLED) ## The survey: every method on 15 galleries (many hours; continues where it was broken off)
	$(BIN)/python -m benchmarks.quality

bench-quality-short: $(INSTALLED) ## The survey on three small galleries, about 15 minutes
	$(BIN)/python -m benchmarks.quality --short

bench-speed: $(INSTALLED) ## What a photo costs with a personal model, as a ratio to the base
	$(BIN)/python -m benchmarks.speed

bench-layers: $(INSTALLED) ## ESPNetv2's layers as we compute them on a CPU beside torch's own, in turns
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.layers

bench-new-photos: $(INSTALLED) ## A personal model on photos that came after it, and its context bank beside the whole group (about 15 minutes)
	$(BIN)/python -m benchmarks.new_photos

bench-load: $(INSTALLED) ## Many users on a running deployment (LOAD="--url … --token-file … --users 1000 --photos 20000 --pollers 200")
	$(BIN)/python -m benchmarks.load $(LOAD)

bench-uploads: $(INSTALLED) ## Memory of the API while 3,000 photos (2 GB) come in one request
	$(BIN)/python -m benchmarks.uploads

bench-memory: $(INSTALLED) ## Peak memory of adapting to 2,000 photos, stage by stage (about 10 minutes)
	$(BIN)/python -m benchmarks.memory run

bench-guard: $(INSTALLED) ## The guard on all models of the survey, on models meant to go wrong and on junk
	$(BIN)/python -m benchmarks.quality --guard
	$(BIN)/python -m benchmarks.guard
endif

settings: $(INSTALLED) ## Write docs/settings.md from app/settings.py
	$(BIN)/python -m tools.settings_page

client: $(INSTALLED) ## Write the synchronous client from the asynchronous one (app/client/_async → _sync)
	$(BIN)/python -m tools.sync_client

docs: $(INSTALLED) ## Build the documentation site into site/
	$(BIN)/python -m mkdocs build --strict

clean: ## Remove .venv and the caches; data/ and out/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
