# Two commands matter: `make demo` (what it does) and `make test` (that it does). The rest is for those who change it.
# TORCH says which build: on Linux PyPI's own is the CUDA build (several GB). The CPU build, where pip is not set up to
# find it already: make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
RUN := $(VENV)/bin/
.DEFAULT_GOAL := help
export HF_HUB_OFFLINE ?= 1

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## .venv with the locked dependencies

# torch first and by itself: another package's range would take the newest build, CUDA and all.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check $(TORCH)
	$(RUN)pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[all,dev,docs]'
	@touch $@

demo: install ## the comparison on the embedded default: three minutes on two cores
	$(RUN)python run.py experiment=demo paths.results=outputs/demo

test: install ## the default test suite: no network, two minutes
	$(RUN)python -m pytest

test-whole: install ## the tests of whole cells, commands and pages: no network, one to two minutes
	$(RUN)python -m pytest -m "whole and not slow and not gpu and not network and not peer"

rehearse: install ## run the first cell of every experiment on a stand-in of the hub; METHODS=all: of every method
	METHODS=$(METHODS) $(RUN)python -m pytest -n 0 -m "rehearse or whole" tests/rehearsal

soak: install ## attack the whole product: kills, damage, full disks, hostile input; hours. SOAK="--size .05"
	$(RUN)python -m tests.soak $(SOAK)

audit: install ## compare requirements.lock with known advisories, offline. ADVISORIES=a clone of pypa/advisory-database
	$(RUN)python security/audit.py $(if $(ADVISORIES),--advisories "$(ADVISORIES)")

format: install ## rewrite the code in the project's style
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

lint: install ## format, lint, types, import contract
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)pyright
	$(RUN)lint-imports

docs: install ## the documentation, in outputs/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build

notebooks: install ## run the notebooks of the documentation, in outputs/notebooks; some minutes
	mkdir -p outputs/notebooks
	cp docs/notebooks/*.ipynb outputs/notebooks
	$(RUN)jupyter-execute --inplace outputs/notebooks/*.ipynb

package: install ## build the wheel and select with it in an environment and a folder of its own
	$(RUN)python -m pytest -n 0 -m slow tests/e2e/test_wheel.py

check: lint docs test test-whole package ## everything that CI runs

pydocs-list: install ## the packages that pool=pydocs reads, from requirements.lock
	$(RUN)python -c "from pathlib import Path; from shortlist.data.package_docs import render_list; \
	  print(end=render_list(Path('requirements.lock').read_text()))" > src/shortlist/data/pydocs_distributions.txt

leaderboard: install ## results/leaderboard.{md,csv,html} from results/records
	$(RUN)python -m shortlist.leaderboard

bench: install $(if $(PEERS),,.cache/peers/installed) bench-text bench-prepare bench-streaming ## time everything: benchmarks/README.md
	OMP_WAIT_POLICY=passive $(RUN)python benchmarks/transport.py --peers $(or $(PEERS),.cache/peers/bin/python) \
	  $(if $(BENCH_DATA),--data "$(BENCH_DATA)") $(BENCH)
	$(if $(BENCH_DATA),$(RUN)python benchmarks/featurizers.py --data "$(BENCH_DATA)")
	$(if $(BENCH_DATA),$(RUN)python benchmarks/training.py --data "$(BENCH_DATA)")

bench-minis: install ## run every experiment at size=mini: some hours on two cores
	$(RUN)python benchmarks/minis.py --data "$(BENCH_DATA)"

bench-text: install $(if $(DSIR_PEER),,.cache/dsir/installed) ## time DSIR, and a million documents
	$(RUN)python benchmarks/dsir.py --peer $(or $(DSIR_PEER),.cache/dsir/bin/python) \
	  $(if $(BENCH_DATA),--data "$(BENCH_DATA)")
	$(RUN)python benchmarks/million.py $(if $(BENCH_DATA),--data "$(BENCH_DATA)")

bench-streaming: install ## time streamed selections from files, 100,000 and a million documents
	$(RUN)python benchmarks/streaming.py --repeated 1200000
	$(RUN)python benchmarks/streaming.py --methods dsir --documents 200000 --ways memory sync processes

bench-prepare: install $(if $(PREPARE_PEER),,.cache/prepare/installed) ## time data preparation beside datatrove, datasketch and rensa
	$(RUN)python benchmarks/prepare.py --peer $(or $(PREPARE_PEER),.cache/prepare/bin/python) \
	  $(if $(BENCH_DATA),--data "$(BENCH_DATA)")

.cache/prepare/installed: baselines/peers/prepare/requirements.txt
	$(PYTHON) -m venv .cache/prepare
	.cache/prepare/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.cache/peers/installed: baselines/peers/transport/requirements.txt
	$(PYTHON) -m venv .cache/peers
	.cache/peers/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	.cache/peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.cache/dsir/installed: baselines/peers/dsir/requirements.txt
	$(PYTHON) -m venv .cache/dsir
	.cache/dsir/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean: ## remove artifacts, runs and what they wrote, not results/
	rm -rf .cache outputs

.PHONY: help install demo test test-whole rehearse package soak audit format lint docs notebooks check leaderboard pydocs-list bench bench-minis bench-prepare bench-streaming bench-text clean
