# Each target sets up what it needs on a machine that has only Python 3.11+, Node 20+ and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
PIP := .venv/bin/python -m pip --disable-pip-version-check
digest = $(shell cat $(1) | cksum | cut -d' ' -f1)

VENV := .venv/installed-$(call digest,inference/torch.txt requirements.txt pyproject.toml)
NODE := node_modules/installed-$(call digest,package-lock.json)
CHROMIUM := build/chromium-found
# jsii writes a banner of eleven lines about Node's age on every start, and wants the version that it is not to speak of.
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1
export JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION := 1
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)

# What a change has to pass is timed: the minutes are printed, and kept in build/house.json.
TIMED := $(PYTHON) tools/timed.py
# A file is one worker's: what its tests share is made once. The order of tests/conftest.py stays, the long files first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help environment demo local test test-quick test-outside test-outside-all coverage wheel check synth deploy accept image bench bench-long faults lock sbom format clean

help:  ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

environment: $(VENV) $(NODE) $(CHROMIUM)  ## What the other targets install when it is missing

demo: $(VENV) $(NODE)  ## The whole loop, unattended, on models trained on the spot
	python -m local.demo

local: $(VENV) $(NODE)  ## The service on 127.0.0.1 until Ctrl-C
	@exec python -m local

test: $(VENV) $(NODE) $(CHROMIUM)  ## Every test: rules, adapters, template, whole loop
	$(TIMED) test $(if $(TESTS),,--house test_minutes) -- python -m pytest -q $(SIDE_BY_SIDE) --durations=25 $(TESTS)

test-quick: $(VENV)  ## Rules, command, adapters, documentation: the fast ones
	$(TIMED) test-quick --house quick_minutes -- python -m pytest -q -n 2 tests/rules tests/cli tests/adapters tests/docs

test-outside: $(VENV) $(NODE)  ## Against software that nobody here wrote: the sample that CI runs; SUITES names some
	$(TIMED) test-outside $(if $(SUITES),,--house outside_minutes) -- $(PYTHON) outside/run.py $(SUITES)

test-outside-all: $(VENV) $(NODE)  ## The same with every family, layout and variant
	$(TIMED) test-outside-all -- $(PYTHON) outside/run.py --all $(SUITES)

coverage: $(VENV) $(NODE) $(CHROMIUM)  ## Every test, with the lines that none of them runs, in build/coverage/
	python -m pytest -q $(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(TESTS)

# Folders in which every public module, class and function has a docstring, in Google's form.
DOCUMENTED := $(addprefix promotion/,client config domain ledger links workflows) $(addprefix inference/,tasks serving scoring)

check: $(VENV)  ## Lint, types, boundaries, docstrings
	ruff check . && ruff format --check .
	ruff check --select D --config "lint.pydocstyle.convention='google'" $(DOCUMENTED)
	mypy
	lint-imports

synth: $(VENV) $(NODE)  ## The CloudFormation template, in cdk.out/
	cdk synth --quiet $(CDK_ARGS)

deploy: $(VENV) $(NODE)  ## Into the AWS account that the shell's credentials name
	cdk deploy --all $(CDK_ARGS)

accept: $(VENV) $(NODE)  ## What was deployed, tried once: the whole loop, and what only a live account can show
	python -m tools.accept $(ACCEPT_ARGS)

wheel: $(VENV)  ## The package, in dist/
	rm -rf build/lib build/bdist.* *.egg-info
	python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

image: $(VENV)  ## The inference image with buildah, on a base of Debian's own packages, and tried: as root, on Debian
	python -m local.image

bench: $(VENV) $(NODE)  ## Benchmarks, into build/bench/ and docs/benchmarks/
	python -m benchmarks

bench-long: $(VENV) $(NODE)  ## The benchmarks that take an hour
	python -m benchmarks --long

faults: $(VENV) $(NODE)  ## Kills and cuts everything that can be killed or cut, over and over
	python -m benchmarks.faults

sbom: $(VENV)  ## Bills of materials and licences of all that is deployed, in build/sbom/
	python -m tools.sbom

format: $(VENV)  ## Formats and sorts imports
	ruff check --fix-only --quiet . && ruff format .

lock:  ## The locks anew, with hashes, from the requirements.in files; UPGRADE=1 takes newer versions
	$(PYTHON) -m tools.lock
	npm install --package-lock-only --omit-lockfile-registry-resolved=true --no-audit --no-fund

clean:  ## Everything that was made here
	rm -rf build cdk.out .venv node_modules

# torch goes in first and alone: pip then takes a CPU build where the index has one. The rest is the lock, hash by hash.
$(VENV):
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	$(PIP) install --quiet -r inference/torch.txt
	$(PIP) install --quiet --require-hashes --no-deps -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	rm -f .venv/installed-* && touch $@

$(NODE):
	npm ci --no-audit --no-fund --loglevel=error
	rm -f node_modules/installed-* && touch $@

$(CHROMIUM):
	@mkdir -p build
	if ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	  else echo "The browser tests need Chromium: install it (Debian: apt-get install chromium), or set TESTS to leave them out." >&2; exit 1; fi; fi
	touch $@
