# Every target sets up what it needs in .venv; `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test test-slow lint format bench bench-scoring bench-sd clean

help:
	@echo "make demo    classify the sample faces with the bundled model"
	@echo "make test    run the tests (make test-slow: the long ones)"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   measure training, scoring and start-up on this machine"
	@echo "make bench-scoring DATA=NAME:PATH   what scoring costs and keeps; about an hour, goes on"
	@echo "make bench-sd   steps and scoring with a tiny Stable Diffusion checkpoint"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/emodc predict samples

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/speed.py

bench-scoring: $(READY)
	@test -n "$(DATA)" || { echo "say which data: make $@ DATA=NAME:PATH"; exit 2; }
	$(BIN)/python benchmarks/scoring.py --data $(DATA)

bench-sd: $(READY)
	$(BIN)/python benchmarks/stable_diffusion.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
