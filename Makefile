# Every target makes the environment it needs. Nothing but python3 (>= 3.11, with venv), make and git has to be there.
.DEFAULT_GOAL := help
.PHONY: help repro smoke example test test-slow test-remotes test-consumers check gate comment experiments baseline diff demo docs readme bench bench-int8 bench-steps bench-serve bench-scale bench-search bench-recipe clean
SHELL := /bin/sh
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := src

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

repro: .venv/ready  ## data to tuned ONNX model and report; 20 to 30 minutes on 2 cores the first time, seconds after
	@echo "attune: running the pipeline (dvc repro); only what changed runs, the first time 20 to 30 minutes on 2 cores"
	@dvc repro
	@echo "attune: done; open metrics/report.html in a browser, or read metrics/report.md"

smoke: .venv/ready  ## the same pipeline on 300 documents, in scratch/smoke; under 2 minutes
	@echo "attune: running the miniature pipeline in scratch/smoke, under 2 minutes"
	@python tests/miniature.py scratch/smoke

example: .venv/ready  ## a recipe on its data: make example RECIPE=nl2bash DATA=folder (RECIPE: a file of examples/)
	@test -n "$(RECIPE)" -a -n "$(DATA)" || { echo "attune: say which: make example RECIPE=nl2bash DATA=folder" >&2; exit 1; }
	@python tests/miniature.py scratch/$(RECIPE) examples/$(RECIPE).yaml "$(DATA)"

test: .venv/ready  ## all tests, the miniature pipeline among them; about 13 minutes on 2 cores
	@echo "attune: running the tests, about 13 minutes on 2 cores"
	@python -m pytest

test-slow: .venv/ready  ## minutes more: published figures on data sets in $$ATTUNE_DATASETS (skipped without)
	@python -m pytest -m slow

test-remotes: .venv/ready  ## the model pulled by version from a folder, ssh, http and S3, on loopback; installs what that takes (root once)
	@PYTHON=$(PYTHON) tests/remotes/setup
	@echo "attune: pulling from real servers on loopback, about 8 minutes on 2 cores"
	@python -m pytest -n 0 -m remotes tests/remotes

test-consumers: .venv/ready  ## models/onnx in sentence-transformers, fastembed, transformers.js and others; 10 minutes, 5 GB
	@echo "attune: installing each consumer into scratch/consumers, and asking it for vectors"
	@rm -f scratch/consumers/table.md; python -m pytest -m consumers -n 0; code=$$?; \
	    cat scratch/consumers/table.md 2>/dev/null; exit $$code

check: .venv/ready  ## lint and types
	@ruff check . && ruff format --check . && mypy

# where they need no torch (a pull request's job), READY=.venv/review is enough for these; AGAINST goes through the
# environment, because make and the shell would run what a branch's name may hold
READY ?= .venv/ready

gate: $(READY)  ## may this model be merged? figures, dvc.lock, and with AGAINST=main no worse than there; seconds, exit 1 if not
	@attune gate $${AGAINST:+--against "$$AGAINST"}

comment: $(READY)  ## what a pull request is told about its model (against AGAINST=main); in its workflow also written there
	@attune comment $${AGAINST:+--against "$$AGAINST"}

baseline: $(READY)  ## (re)create the git tag `baseline`: the commit whose tuned encoder is the base (train.epochs: 0)
	@for commit in $$(git log --format=%H -- params.yaml); do \
	    if git show $$commit:params.yaml | grep -Eq '^  epochs: 0( |$$)'; then \
	        git tag --force baseline $$commit >/dev/null && git log -1 --format='attune: tag baseline is %h %s' $$commit; \
	        exit 0; \
	    fi; \
	done; \
	echo "attune: no commit here has train.epochs: 0 (a shallow clone?); git fetch --unshallow, or make the run again:" \
	    "dvc exp run -n baseline -S train.epochs=0" >&2; exit 1

diff: baseline  ## baseline against tuned, as dvc metrics diff
	@dvc metrics diff baseline --targets metrics/tuned.json

# all columns but these: parameters, what choices are made by (dev, general text kept), and the name
COLUMNS := Experiment$$|[a-z]+\.[a-z0-9_.]+$$|metrics/[a-z0-9_]+\.json:dev_(recall|ndcg)@10$$|metrics/merge\.json:retention$$

experiments: .venv/ready  ## the experiments of this commit in one table: changed parameters, and the dev figures to choose by
	@dvc exp show --md --no-pager --only-changed --hide-workspace --drop '^(?!$(COLUMNS))' \
	    --sort-by metrics/tuned.json:dev_ndcg@10 --sort-order desc

demo: .venv/ready  ## a search page on this machine, base and tuned side by side; needs a finished make repro, Ctrl-C stops it
	@attune demo

# what the site holds: all pages, and the files that they link to (mkdocs.yml)
PAGES := '*.md' ':!metrics' docs 'examples/*.yaml' params.yaml advanced.yaml pyproject.toml constraints.txt src/attune/tables.py LICENSE

docs: .venv/ready  ## the documentation as a searchable site in scratch/site; a dead link fails; seconds
	@rm -rf scratch/pages && mkdir -p scratch/pages
	@git ls-files -z --cached --others --exclude-standard -- $(PAGES) | tar --null -T - -cf - | tar -xf - -C scratch/pages
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "attune: open scratch/site/index.html in a browser"

readme: .venv/ready  ## put the figures of metrics/ and bench/figures into the tables of README.md and docs/; a few seconds
	@python -m bench.readme

bench: .venv/ready  ## attune beside its rivals, and what grows how, into bench/RESULTS.md; 50 minutes; needs a finished make repro and $$ATTUNE_DATASETS
	@echo "attune: measuring into bench/RESULTS.md, about 50 minutes on 2 cores; leave the machine alone meanwhile"
	@python -m bench.results

bench-int8: .venv/ready  ## docs/experiments.md's int8 schemes, measured here; about 4 minutes on 2 cores
	@python -m bench.parts.int8

bench-steps: .venv/ready  ## docs/experiments.md's training steps, by attention and dropout; about 2 minutes on 2 cores
	@python -m bench.parts.train_step

bench-serve: .venv/ready  ## queries in torch and in ONNX, and attune alone in an empty environment; about 4 minutes
	@python -m bench.parts.serve

bench-scale: .venv/ready  ## what collect, prepare and split cost at 10^4, 10^5 and 10^6 documents; about 10 minutes and 8 GB of disk
	@python -m bench.parts.scale

bench-search: .venv/ready  ## search, mining, evaluation and each index from 10^4, 10^5 and 10^6 embeddings; 10 minutes, 4 GB of memory
	@python -m bench.parts.scale_search

bench-recipe: .venv/ready  ## attune against the plain recipe, 3 seeds, in FOLDERS with a finished pipeline; one to three hours each on 2 cores
	@python -m bench.parts.recipe $(or $(FOLDERS),.)

clean:  ## remove the environment and scratch space; outputs and the DVC cache stay
	rm -rf .venv scratch

.venv/ready: EXTRAS := pipeline,demo,dev
.venv/review: EXTRAS := review
.venv/ready .venv/review: constraints.txt pyproject.toml
	@command -v git >/dev/null || { echo "attune: git is missing; install it (Debian: apt-get install git)" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "attune: $(PYTHON) is missing; install Python 3.11 or newer, or make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "attune: $(PYTHON) is $$($(PYTHON) -V 2>&1), expected 3.11 or newer; make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "attune: $(PYTHON) lacks venv; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "attune: installing into .venv, about 2 minutes"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
