# Everything a developer or operator does; `make` alone lists it.
PORT  ?= 4566
STAGE ?= prod
ARCH  ?=
AUTH  ?=
DIR   ?= ../shared/corpus
SEED  ?=
NAME  ?=

PYTHON_ENV := .venv/bin/python
INFRA      := $(PYTHON_ENV) -m infra
UV         := env -u PYTHONDONTWRITEBYTECODE .local/uv/bin/uv --quiet
PLAYERS    := testing/players/node_modules/.package-lock.json
CONTRACT   := testing/contract/node_modules/.package-lock.json
CHOSEN     := --stage '$(STAGE)' $(if $(ARCH),--arch $(ARCH)) $(if $(AUTH),--auth $(AUTH))

.DEFAULT_GOAL := help
.PHONY: help setup demo up down env test test-fast variants test-localstack check format package deploy delete bench corpus contract chaos players

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

setup: ## the environments, from nothing but a system Python (PYTHON= overrides)
	@bash infra/setup.sh

demo: setup ## an image and a film through every step, on a cloud of its own
	@$(PYTHON_ENV) -m infra.local.demo

up: setup ## the local cloud, left running (PORT=, AWS_ENDPOINT_URL= for one that is there)
	@$(INFRA) up --port $(PORT) $(if $(AUTH),--auth $(AUTH))

down: setup ## stop it: files, outputs and jobs are gone with it
	@$(INFRA) down

env: setup ## shell variables for the running cloud: eval "$$(make -s env)"
	@$(INFRA) env

test: setup ## the whole suite, and what takes longest in it
	@$(PYTHON_ENV) -m pytest -n 2 --no-loadscope-reorder --durations 20

test-fast: setup ## what needs no cloud, and no FFmpeg for long: under a minute
	@$(PYTHON_ENV) -m pytest -n 2 --no-loadscope-reorder -m 'not (stack or media or slow or variants)'

variants: setup ## more odd inputs of every kind that the suite has one or two of; minutes
	@$(PYTHON_ENV) -m pytest -n 2 -m variants

test-localstack: setup ## the stack on a real LocalStack 4.14, which needs no Docker here; five minutes
	@$(UV) venv --allow-existing --python .venv/bin/python .local/localstack-venv
	@$(UV) pip sync --require-hashes --compile-bytecode --python .local/localstack-venv/bin/python testing/localstack/requirements.txt
	@$(PYTHON_ENV) -m testing.localstack

check: setup ## format, lint, types, who imports whom: the one gate
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache --no-logo

format: setup ## format, and mend what can be mended
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

package: setup ## what is deployed, in .local/build/ (STAGE=prod, ARCH=x86_64|arm64, AUTH=)
	@$(INFRA) package $(CHOSEN)

deploy: setup ## create or update the stack of STAGE, on AWS or at AWS_ENDPOINT_URL
	@$(INFRA) deploy $(CHOSEN)

delete: setup ## delete the stack of STAGE (CONFIRM= its name again); its buckets and its table stay
	@$(INFRA) delete --stage '$(STAGE)' $(if $(CONFIRM),--confirm '$(CONFIRM)')

chaos: setup ## 10,000 schedules with faults, of a fresh seed (SEED= of an earlier run, NAME= of one)
	@$(PYTHON_ENV) -m testing.chaos $(NAME) $(if $(SEED),--seed $(SEED))

contract: setup $(CONTRACT) ## linters, generated clients, Uppy, made-up requests, on a cloud of its own (needs npm, chromium)
	@$(PYTHON_ENV) -m pytest testing/contract -s

bench: setup ## figures, beside their baselines
	@$(PYTHON_ENV) -m benchmarks

corpus: setup ## every file of DIR= through the local stack, judged, in .local/corpus/report.html (PIPELINES=)
	@$(PYTHON_ENV) -m corpus "$(DIR)" $(if $(PIPELINES),--pipelines "$(PIPELINES)")

players: setup $(PLAYERS) ## a film in four players of Chromium while it is encoded, in two as DASH after; a few minutes
	@$(PYTHON_ENV) -m testing.players

# What npm installed, as it says itself.
$(CONTRACT): testing/contract/package.json testing/contract/package-lock.json
	@npm ci --prefix testing/contract --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(PLAYERS): testing/players/package.json testing/players/package-lock.json
	@npm ci --prefix testing/players --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
