# Everything installs itself into .venv; nothing outside this folder is touched, except by "make test-cloud" and "make test-congress" (see docs/testing.md).
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || echo python3)
SNAPSHOT := benchmarks/data/vmr2l/medium.json.xz
DEMO := demo-output

# What the tests compare the embedded Rego engine with. Its package asks for a newer Python than it needs.
OPA_EVALUATOR := opa-golib-python-bindings==0.4.4

.PHONY: install demo test test-cloud test-congress clean

install: $(VENV)/installed

# Debian and Ubuntu ship venv apart from Python; where that is missing and may be installed, it is.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); test "$$(id -u)" = 0 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; install python3-venv (apt-get install python3-venv), then make again"; exit 1; }
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m optimizer.solvers.prepare
	touch $@

demo: install
	@mkdir -p $(DEMO)
	@echo; echo "1. Audit of 279 hosts and 2,089 servers (benchmarks/data/vmr2l/README.md): which hosts can be emptied?"; echo
	@$(BIN)/placewright audit run vm_workload_consolidation --snapshot $(SNAPSHOT) \
	  --param missing_load=flavor --param max_cpu_percent=100 --param aggressiveness=4 \
	  --time-limit 15 --seed 1 --out $(DEMO)/plan.json -f csv > $(DEMO)/plan.csv
	@echo; echo "2. The first moves, and why:"; echo
	@$(BIN)/placewright plan show $(DEMO)/plan.json -c Step -c What -c From -c To -c GB -c Reason --max-width 130 2>/dev/null | head -n 12
	@echo; echo "3. The plan is carried out in the simulator, 100 times as fast as real:"; echo
	@$(BIN)/placewright plan apply $(DEMO)/plan.json --simulate $(SNAPSHOT) --yes --seed 1 --pace 0.01 \
	  --page $(DEMO)/index.html -f csv > $(DEMO)/actions.csv
	@echo; echo "Look at $(DEMO)/index.html; every action is in $(DEMO)/plan.csv and actions.csv, the plan in plan.json."

# Where it cannot be had, its tests say so: they fail where it is made for the platform, and are skipped elsewhere.
$(VENV)/evaluator: $(VENV)/installed
	-$(BIN)/pip install -q --disable-pip-version-check --no-deps --ignore-requires-python $(OPA_EVALUATOR) && touch $@

test: install $(VENV)/evaluator
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests --ignore tests/cloud --ignore tests/congress

test-cloud: install
	$(BIN)/python -m pytest tests/cloud

test-congress: install
	$(BIN)/python -m pytest tests/congress

clean:
	rm -rf $(VENV) $(DEMO) *.egg-info
