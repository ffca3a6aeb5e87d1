# Two commands do everything on a fresh machine: `make train` and `make test`.
#   make train ARGS="model=vit_b_32 trainer.max_steps=100"
#   make setup PYTHON=python3.12
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# An environment that is there keeps its own interpreter unless another one is asked for.
PYTHON ?= $(if $(wildcard $(BIN)/pip),$(BIN)/python,python3)
WAYS ?= ways-to-end.xml
VERSION = import sys; print("%d.%d" % sys.version_info[:2])
# What is installed is known by the interpreter and by the content of the lock and of the project file, not by time stamps.
STAMP = $(VENV)/.set-up-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)-$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-exhaustive ways-to-end soak lint

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## environment in .venv, from requirements.lock

$(VENV)/.set-up-%:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "clip-align needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). Try: make setup PYTHON=python3.12"; exit 2; }
	@test ! -x $(BIN)/pip || test "$$($(BIN)/python -c '$(VERSION)')" = "$$($(PYTHON) -c '$(VERSION)')" || { echo "$(VENV) was made with another Python than $(PYTHON). Remove $(VENV) and run make setup again, or leave PYTHON out."; exit 2; }
	@echo "Setting up $(VENV) (about 6 GB with PyTorch; a few minutes)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) >/dev/null || true
	@test -x $(BIN)/pip || { echo "$(PYTHON) made no $(VENV) with pip in it. Install its venv module (Debian, Ubuntu: apt install python3-venv) and run make setup again."; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(BIN)/python -c 'import torch, torchvision, open_clip' || { echo "The environment is broken: torch, torchvision and open_clip do not import together. Remove $(VENV) and run make setup again."; exit 2; }
	@rm -f $(VENV)/.set-up-*
	@touch $@

train: setup  ## train the main job; overrides in ARGS="..."
	@$(BIN)/python train.py $(ARGS)

test: setup  ## all tests but the slow and the exhaustive ones
	@$(BIN)/python -m pytest -q

test-slow: setup  ## the tests marked slow
	@$(BIN)/python -m pytest -q -m slow

test-exhaustive: setup  ## the tests marked exhaustive: others for more settings, seeds and models
	@$(BIN)/python -m pytest -q -m exhaustive

ways-to-end: setup  ## a table of every way a run can end, from the tests of it (an hour)
	@$(BIN)/python -m pytest -q -m "slow or exhaustive" -o junit_family=xunit1 --junitxml=$(WAYS) tests/system/test_ways_to_end.py >&2; status=$$?; \
	$(BIN)/python tests/system/ways_to_end_table.py $(WAYS); exit $$status

soak: setup  ## kill runs at random moments, resume them, compare; ARGS="kills=4" for fewer than 20
	@$(BIN)/python tests/system/soak.py $(ARGS)

lint: setup  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
