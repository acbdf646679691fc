# Every target sets up what it needs by itself; a second call reuses the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow chaos lint type bench reproduce-model clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[all,dev]'
	@touch $(STAMP)

install: $(STAMP)  ## Make .venv with the exact versions of constraints.txt

demo: $(STAMP)  ## Compose songs, train a few minutes, restore an MP3, report what it gained
	$(BIN)/python scripts/demo.py

test: $(STAMP)  ## The fast tests (under 5 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile $(PYTEST_ARGS)

test-slow: $(STAMP)  ## The slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n auto --dist loadfile $(PYTEST_ARGS)

chaos: $(STAMP)  ## Every fault of docs/reliability.md, with counts (under 20 minutes on two cores)
	CHAOS=full OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/chaos -n auto $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(STAMP)  ## mypy
	$(BIN)/mypy

bench: $(STAMP)  ## Every benchmark of scripts/benchmarks
	for name in codec data model; do $(BIN)/python -m scripts.benchmark $$name || exit 1; done

reproduce-model: $(STAMP)  ## Train the released models again: VAL=DIR [MUSIC=DIR], hours; QUICK=1, minutes
	$(BIN)/python -m scripts.released.pipeline \
		$(if $(VAL),--val "$(VAL)") $(if $(MUSIC),--music "$(MUSIC)") $(if $(QUICK),--quick)

clean:  ## Remove the environment and the caches; data/ and outputs/ stay
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
