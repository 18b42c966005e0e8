# Two commands do everything: `make serve` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
export BENTOML_DO_NOT_TRACK ?= True
BIN := $(CURDIR)/$(VENV)/bin
# BentoML starts tools (uv, its workers) by name.
export PATH := $(BIN):$(PATH)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help serve model bento image test lint format clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/'

serve: model ## Serve on port 3000 (PORT=...), from nothing
	$(BIN)/bentoml serve service.app:FacialEmotion --port $(PORT)

model: $(VENV)/service.stamp ## Put the shipped model into the BentoML store, if it is not there
	@$(BIN)/python -m search publish

bento: model $(VENV)/develop.stamp ## Build the Bento
	$(BIN)/bentoml build

image: ## Build the container with buildah (BASE_IMAGE=..., TORCH_INDEX=..., BUILDAH_FLAGS=...)
	buildah build --format docker $(BUILDAH_FLAGS) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		$(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) \
		--build-arg REVISION=$(shell git describe --always --dirty) --tag facial-emotion .

test: $(VENV)/develop.stamp lint ## Check style and types, run all tests
	$(BIN)/python -m pytest

lint: $(VENV)/develop.stamp ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/develop.stamp ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment
	rm -rf $(VENV)

$(VENV)/service.stamp: pyproject.toml constraints.txt
	@echo "Making the environment (some minutes, about 6 GB)..."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[compile,faces]'
	@touch $@

$(VENV)/develop.stamp: $(VENV)/service.stamp client/pyproject.toml
	$(INSTALL) --editable '.[compile,faces,search,dev]' --editable ./client
	@touch $@
