# Two commands do everything: `make serve` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
# This machine alone, which HOST=0.0.0.0 opens to others. Not from the environment, where some shells have a HOST.
HOST := 127.0.0.1
DATA ?= fer2013
DEVICE ?= auto
export BENTOML_DO_NOT_TRACK ?= True
BIN := $(CURDIR)/$(VENV)/bin
# BentoML starts tools (uv, its workers) by name.
export PATH := $(BIN):$(PATH)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

VERSION := $(shell sed -n 's/^VERSION.*"\(.*\)"/\1/p' service/version.py)
REVISION := $(shell git describe --always --dirty)
BUILD = buildah build --format docker $(BUILDAH_FLAGS) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)
IMAGE ?= facial-emotion
TAG ?= $(VERSION)
ENGINE ?= $(notdir $(shell command -v podman || command -v docker))
SBOM ?= dist/facial-emotion-$(VERSION).cdx.json

.PHONY: help serve model models bento image search-image run-image test fuzz lint format lock sbom audit release-check clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/'

serve: model ## Serve on port 3000 of this machine alone (PORT=..., HOST=0.0.0.0 for others, too), from nothing
	@why=$$($(BIN)/python -c "import socket; socket.create_server(('$(HOST)', $(PORT))).close()" 2>&1) || { why=$${why##*: }; \
		echo "error: port $(PORT) of $(HOST): $${why% (while*}; another: make serve PORT=..., HOST=..."; exit 1; }
	$(BIN)/bentoml serve service.app:FacialEmotion --host $(HOST) --port $(PORT)

model: $(VENV)/service.stamp ## Put the shipped model into the BentoML store, if it is not there
	@tag=$$($(BIN)/python -m search publish --if-new) && echo "models/compact in the store: $$tag"

bento: model $(VENV)/develop.stamp ## Build the Bento
	$(BIN)/bentoml build --label version=$(VERSION) --label revision=$(REVISION)

image: ## Build the container with buildah (IMAGE=..., TAG=..., BASE_IMAGE=..., TORCH_INDEX=..., BUILDAH_FLAGS=...)
	$(BUILD) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) --tag $(IMAGE):$(TAG) .

search-image: ## Build the container of the search and the training with buildah (as above, without TORCH_INDEX)
	$(BUILD) --file deploy/search.Dockerfile --tag $(IMAGE)-search:$(TAG) .

run-image: ## Run the built container; it writes nothing but under /tmp (IMAGE=..., TAG=..., ENGINE=podman, PORT=..., HOST=..., RUN_FLAGS=...)
	@test -n "$(ENGINE)" || { echo "error: neither podman nor docker is installed"; exit 1; }
	$(ENGINE) run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --stop-timeout 30 \
		--publish $(HOST):$(PORT):3000 $(RUN_FLAGS) $(IMAGE):$(TAG)

# Bars of several trainings would overwrite each other; the curves are in runs/*/history.csv and runs/*/*/history.csv.
RETRAIN = $(if $(filter -j%,$(MAKEFLAGS)),TQDM_DISABLE=1 )$(BIN)/python -m search retrain --data $(DATA) --device $(DEVICE) $(RETRAIN_FLAGS)
BLEND = $(BIN)/python -m search blend --data $(DATA) --device $(DEVICE) --share 0.25
CHOOSE = $(BIN)/python -m search choose
NETWORKS := accurate compact
SEEDS := 0 1 2
TEACHERS := runs/teacher0 runs/teacher1
TAUGHT = $(TEACHERS:%=--teacher %/artifact)

# Made for a GPU, of which -j3 uses more. Folders do not tell whether they are complete; the commands find that out.
models: $(NETWORKS:%=models/%) ## Train both networks from the data alone, into models/ (DATA=fer2013, DEVICE=auto, RETRAIN_FLAGS=...); goes on where it was stopped

# No stage has a seed of another one: it fixes initial weights and the order of the faces.
.PHONY: $(TEACHERS)
$(TEACHERS): runs/teacher%: $(VENV)/develop.stamp
	$(RETRAIN) --network accurate --recipe teacher --seed 1$* --out $@

# A network's stages that every seed has.
STUDENTS = $(SEEDS:%=runs/$(1)/student%)
ROBUST = $(SEEDS:%=runs/$(1)/robust%)

define MODEL
.PHONY: $(STUDENTS) runs/$(1)/chosen $(ROBUST) models/$(1)
$(STUDENTS): runs/$(1)/student%: $(TEACHERS)
	$$(RETRAIN) --network $(1) --recipe student $$(TAUGHT) --seed $$* --out $$@
runs/$(1)/chosen: $(STUDENTS)
	$$(CHOOSE) $$(^:%=--run %/artifact) --out $$@
$(ROBUST): runs/$(1)/robust%: runs/$(1)/chosen
	$$(RETRAIN) --network $(1) --recipe robust --start-from $$< $$(TAUGHT) --seed 2$$* --out $$@
	$$(BLEND) --start $$< --run $$@/artifact --out runs/$(1)/blend$$*
# Only after all trainings, whose cards note whether the checkout is as committed.
models/$(1): $(foreach network,$(NETWORKS),$(call ROBUST,$(network)))
	$$(CHOOSE) $(SEEDS:%=--run runs/$(1)/blend%) --out $$@
endef
$(foreach network,$(NETWORKS),$(eval $(call MODEL,$(network))))

test: $(VENV)/develop.stamp lint ## Check style and types, run all tests
	$(BIN)/python -m pytest

fuzz: $(VENV)/develop.stamp ## Send 20,000 mutated images and requests to a server
	$(BIN)/python -m pytest -s --hypothesis-profile long tests/test_fuzz.py -k mutated

lint: $(VENV)/develop.stamp ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/develop.stamp ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/develop.stamp ## Write requirements.txt, the service's packages with all that they need
	$(BIN)/uv pip compile --quiet pyproject.toml --extra faces --extra tracing --constraint constraints.txt \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --output-file requirements.txt

sbom: $(VENV)/develop.stamp ## Write the bill of materials of what is shipped (CycloneDX) to dist/
	@mkdir -p dist
	@sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > dist/pyproject.toml
	$(BIN)/cyclonedx-py requirements requirements.txt --pyproject dist/pyproject.toml --mc-type application \
		--output-reproducible --output-file $(SBOM)
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file dist/environment.json $(BIN)/python
	$(BIN)/python deploy/licences.py $(SBOM) dist/environment.json models/compact
	@rm dist/pyproject.toml dist/environment.json

# Strict, because a package that it cannot look up would pass for one without a fault.
audit: $(VENV)/develop.stamp ## List the locked packages' known vulnerabilities (AUDIT=skip where that cannot be done)
	@mkdir -p dist
	@$(BIN)/uv tool run --quiet pip-audit==2.10.1 --requirement requirements.txt --no-deps --disable-pip \
		--strict --progress-spinner off > dist/audit.txt 2> dist/audit.log && echo "no known vulnerabilities" \
		|| if [ -s dist/audit.txt ]; then cat dist/audit.txt; exit 1; \
		else echo "not audited: $$(tail -n 1 dist/audit.log)"; test "$(AUDIT)" = skip; fi

release-check: test sbom audit ## All that a release needs: tests, bill of materials, audit, packages, nothing uncommitted
	@rm -rf build client/build  # setuptools would pack modules that lie there from earlier
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . ./client
	@git diff --quiet HEAD || { echo "error: there are uncommitted changes"; exit 1; }
	@echo "$(VERSION) at $(REVISION) is ready"; ls -l dist

clean: ## Remove the environment
	rm -rf $(VENV)

$(VENV)/service.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "error: $$($(PYTHON) --version 2>&1) as PYTHON=$(PYTHON); needs 3.11 or 3.12: make serve PYTHON=python3.12"; exit 1; }
	@echo "Making the environment (some minutes, about 6 GB)..."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[compile,faces,tracing]'
	@touch $@

$(VENV)/develop.stamp: $(VENV)/service.stamp client/pyproject.toml
	$(INSTALL) --editable '.[compile,faces,tracing,postgres,search,dev]' --editable ./client
	@touch $@
