# Each target sets up what it needs: a virtual environment with exactly the locked packages.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo up test unit integration endurance check browser migration lock clean

demo: .venv/run  ## 30 days of a made-up account, end to end
	$(BIN)/comagic-pipeline demo

up: .venv/run  ## the Dagster UI and daemon
	$(BIN)/comagic-pipeline up

test: .venv/test check browser  ## everything that CI runs
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

unit: .venv/test  ## the tests that open no connection
	$(BIN)/python -m pytest -n 2 -q comagic_pipeline_tests/unit

integration: .venv/test  ## the tests with PostgreSQL, HTTP and Dagster in this process
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder comagic_pipeline_tests/integration

endurance: .venv/test  ## hundreds of random accidents, for hours; COMAGIC_ROUNDS=10 for a look
	$(BIN)/python -m pytest -s -m endurance comagic_pipeline_tests/endurance

check: .venv/test
	$(BIN)/ruff check -q
	$(BIN)/ruff format -q --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@home=$$(mktemp -d) && echo 'telemetry: {enabled: false}' > "$$home/dagster.yaml" && \
		DAGSTER_HOME="$$home" COMAGIC_CONFIG=comagic.example.yaml VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/dg check defs; \
		status=$$?; rm -r "$$home"; exit $$status

migration: .venv/test  ## NAME=what_it_does writes the migration that a changed declaration of a table needs
	@test -n "$(NAME)" || { echo "write make migration NAME=what_it_does"; exit 1; }
	$(BIN)/python -m comagic_pipeline.warehouse.migrations.write "$(NAME)"
	$(BIN)/ruff check -q --fix comagic_pipeline/warehouse/migrations/versions
	$(BIN)/ruff format -q comagic_pipeline/warehouse/migrations/versions

# Where it cannot be installed, its test is skipped, and fails with CI=true: both say what is missing.
browser:  ## Debian's Chromium for the test of the UI, if we are root and it is not there
	@if ! { command -v chromium && command -v chromedriver; } >/dev/null && \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Debian's packages chromium and chromium-driver"; \
		export DEBIAN_FRONTEND=noninteractive; apt="apt-get -qq -o DPkg::Lock::Timeout=300"; \
		$$apt update && $$apt install --no-install-recommends chromium chromium-driver >/dev/null || \
			echo "chromium and chromium-driver could not be installed"; \
	fi

lock: .venv/test  ## resolve setup.cfg anew; every install then gives the same packages
	$(BIN)/pip install -q uv
	for x in "" "--extra test"; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade \
		setup.cfg $$x -o requirements$${x:+-test}.lock || exit 1; done

clean:  ## the environment and caches; data stays in .comagic/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info build

.venv/run: requirements.lock setup.cfg | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/test: requirements-test.lock .venv/run
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-test.lock
	@touch $@

# Debian's Python comes without ensurepip: then pip is put in from outside, if there is one.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { rm -rf .venv && $(PYTHON) -m venv --without-pip .venv && \
		$(PYTHON) -m pip --python .venv/bin/python install -q pip; } || \
		{ rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: install python3-venv"; exit 1; }
