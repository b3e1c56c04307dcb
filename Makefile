# `make demo`, `make test` and `make check` do everything on a fresh clone: environment, installation, run.
#   PYTHON=python3.12   another Python than python3, for the environment
#   TORCH_INDEX=URL     where pip takes torch and torchvision from, such as the address of PyTorch's CPU builds

PYTHON ?= python3
TORCH_INDEX ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TOOLS  := $(VENV)/.tools

export MPLBACKEND := Agg

# Processes that run tests, one for each CPU; more than four need more memory than they save time.
WORKERS ?= auto --maxprocesses=4

.PHONY: demo test check clean

demo: $(STAMP)
	$(BIN)/python -m framepack_transitions demo --out demo_output

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadgroup

# Mypy needs the checkout under the name that everything imports it by.
check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/package && ln -sfn $(CURDIR) $(VENV)/package/framepack_transitions
	MYPYPATH=$(VENV)/package $(BIN)/mypy
	$(BIN)/vulture

$(TOOLS): pyproject.toml | $(STAMP)
	$(BIN)/python -m pip install --editable '.[check]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed, but $(PYTHON) is older or missing."; \
	  echo "Name one that is: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

define ANNOUNCEMENT
This installs PyTorch and the rest into $(VENV), once.
  It takes about 6 GB of disk where pip brings PyTorch with CUDA, as it does by default on Linux.
  A computer without an NVIDIA GPU does with PyTorch's CPU build, about 1.5 GB:
      make $(or $(MAKECMDGOALS),demo) TORCH_INDEX=URL
  with the URL that PyTorch's "Get Started" page shows for pip and CPU after --index-url.
endef
export ANNOUNCEMENT

# Torch and torchvision are installed by one command and from one place: they only work as a matching pair of
# builds, and a pip configured with a folder of wheels may find one of the two there and fetch the other
# elsewhere. An unset PIP_FIND_LINKS would leave such a configuration in force, an empty folder does not. TORCH_INDEX
# is asked for these two only, and nothing else is asked for them; what they need themselves comes with the rest.
$(STAMP): pyproject.toml | $(BIN)/python
	@mkdir -p $(VENV)/no-wheels
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("torch") and u.find_spec("torchvision")))' || { \
	  echo "$$ANNOUNCEMENT"; \
	  PIP_FIND_LINKS=$(CURDIR)/$(VENV)/no-wheels $(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL='$(TORCH_INDEX)') \
	    $(BIN)/python -m pip install --upgrade $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)' --no-deps) \
	    'torch>=2.4' torchvision; }
	$(BIN)/python -m pip install --editable '.[test]'
	@$(BIN)/python -c 'import torchvision, open_clip' || { \
	  echo "torch and torchvision do not fit together. Remove $(VENV) and run make again."; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo_output .pytest_cache .hypothesis .mypy_cache .ruff_cache
