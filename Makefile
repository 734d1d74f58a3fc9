# tocsin: `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check lint types contracts unit wheel-unit apps faults-long bench docs lock wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.server: requirements/server.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tocsin needs Python 3.11 or newer; try: make PYTHON=python3.12 run" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/server.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e '.[server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.server requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

run: $(VENV)/.server ## install what is needed and start tocsin with a demo story, on loopback
	$(BIN)/tocsin up --demo

test: check wheel-unit ## everything that must pass before a change lands

check: lint types contracts ## linters, types and import contracts

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

contracts: $(VENV)/.dev ## who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.dev ## pytest, on the sources
	$(WITH_APPS) $(BIN)/pytest -q --durations=15

# The frameworks that the SDK is tested with, oldest and newest, apart from everything else.
APPS := $(VENV)-apps
WITH_APPS = $(foreach age,OLD NEW,$(call with,$(age),$(APPS)-$(if $(filter OLD,$(age)),old,new)))
with = $(if $(wildcard $(2)/.apps),TOCSIN_APPS_$(1)=$(abspath $(2)/bin/python))

$(APPS)-%/.apps: requirements/apps-%.txt
	$(PYTHON) -m venv $(APPS)-$*
	echo '*' > $(APPS)-$*/.gitignore
	$(APPS)-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

apps: $(APPS)-old/.apps $(APPS)-new/.apps ## the frameworks for the SDK's tests, oldest and newest
	@echo 'make unit and make wheel-unit find them; for pytest by hand:'
	@echo 'export TOCSIN_APPS_OLD=$(abspath $(APPS)-old/bin/python) TOCSIN_APPS_NEW=$(abspath $(APPS)-new/bin/python)'

AWAY := build/away

wheel-unit: $(VENV)/.dev ## pytest, on the wheel, with the sources out of the way
	rm -rf $(AWAY) && mkdir -p $(AWAY)
	$(BIN)/python -m hatchling build -t wheel -d $(AWAY)/dist
	TOCSIN_BUILT=$(abspath $(AWAY))/dist $(BIN)/pytest -q tests/package
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --target $(AWAY)/installed $(AWAY)/dist/*.whl
	cp -R bench docs examples requirements tests *.md LICENSE Makefile pyproject.toml $(AWAY)
	rm -rf $(AWAY)/tests/package
	cd $(AWAY) && $(WITH_APPS) TOCSIN_TESTED=$(abspath $(AWAY))/installed PYTHONPATH=$(abspath $(AWAY))/installed $(abspath $(BIN))/pytest -q --durations=15 tests installed/tocsin

faults-long: $(VENV)/.dev ## every crash, every byte flip, at length (about an hour)
	TOCSIN_FAULTS=long $(BIN)/pytest -q tests/faults tests/sdk/test_delivery.py --timeout=7200

bench: $(VENV)/.dev $(APPS)-bench/.apps ## measure; writes bench/report.json
	$(BIN)/python -m bench

docs: $(VENV)/.dev ## regenerate docs/reference from the code
	$(BIN)/python -m docs.generate

wheel: $(VENV)/.dev ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

lock: $(VENV)/.dev ## recompute the pinned requirement files
	./requirements/lock $(BIN)/uv

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) $(APPS)-old $(APPS)-new $(APPS)-bench dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
