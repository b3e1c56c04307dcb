# `make demo` and `make test` do everything on a fresh clone: environment, installation, run.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export MPLBACKEND := Agg

.PHONY: demo test clean

demo: $(STAMP)
	$(BIN)/python -m framepack_transitions demo --out demo_output

test: $(STAMP)
	$(BIN)/python -m pytest

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed, but $(PYTHON) is older or missing."; \
	  echo "Name one that is: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Torch and torchvision are installed by one command and from one place: they only work as a matching pair of
# builds, and a pip configured with a folder of wheels may find one of the two there and fetch the other
# elsewhere. An unset PIP_FIND_LINKS would leave such a configuration in force, an empty folder does not.
$(STAMP): pyproject.toml | $(BIN)/python
	@mkdir -p $(VENV)/no-wheels
	@$(BIN)/python -c 'import torch, torchvision' 2>/dev/null || \
	  PIP_FIND_LINKS=$(CURDIR)/$(VENV)/no-wheels $(BIN)/python -m pip install --upgrade 'torch>=2.4' torchvision
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@$(BIN)/python -c 'import torchvision, open_clip' || { \
	  echo "torch and torchvision do not fit together. Remove $(VENV) and run make again."; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo_output .pytest_cache .hypothesis
