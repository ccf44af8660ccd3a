# Everything installs itself into .venv; nothing outside this folder is touched, except by "make test-cloud" (see docs/testing.md).
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11
SNAPSHOT := benchmarks/data/vmr2l/medium.json.xz
DEMO := demo-output

.PHONY: install demo test lint test-cloud clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python venv is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install -q -e '.[test]'
	touch $@

demo: install
	mkdir -p $(DEMO)
	$(BIN)/placewright audit run vm_workload_consolidation --snapshot $(SNAPSHOT) \
	  --param missing_load=flavor --param max_cpu_percent=100 --param aggressiveness=4 \
	  --time-limit 15 --seed 1 --out $(DEMO)/plan.json --fit-width | head -n 20
	$(BIN)/placewright plan apply $(DEMO)/plan.json --simulate $(SNAPSHOT) --yes --seed 1 --pace 0.01 \
	  --page $(DEMO)/index.html -f csv > $(DEMO)/actions.csv
	@echo "The page: $(DEMO)/index.html"

test: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --quiet
	$(BIN)/python -m pytest tests --ignore tests/cloud

test-cloud: install
	$(BIN)/python -m pytest tests/cloud

clean:
	rm -rf $(VENV) $(DEMO) *.egg-info
