# Every target makes .venv from nothing, and works a second time.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow lint bench clean help

help:
	@echo "make demo       set up, train LeNet on handwritten digits, evaluate, write a report"
	@echo "make test       set up, lint, check types, run the tests"
	@echo "make test-slow  the tests that take minutes (kills, real pictures)"
	@echo "make bench      the speed claims, each as a ratio against a named peer"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/saccade fit digits --model lenet --adapt scratch --out runs/demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" --numprocesses auto --dist loadfile

test-slow: $(READY)
	$(BIN)/pytest -m slow

BENCH := .venv-bench/bin
BENCH_READY := .venv-bench/.ready

$(BENCH_READY): benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $(BENCH_READY)

bench: $(READY) $(BENCH_READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-bench runs .pytest_cache .ruff_cache
