# `make demo` fetches the bases of `small` and translates the people in examples/people; where they cannot be had, `tiny`
# translates the synthetic voices in examples/. `make evaluate MANIFEST=dev.jsonl` scores a model and writes
# out/evaluate/report; `make test`, `make lint` and `make format` are for developers, as are `make test-all`, which runs the
# slow tests too, `make test-small`: what needs the fetched bases of `small` (`dragoman fetch small`), and `make docs`, which
# builds the pages and the reference into out/site.
# Each sets up .venv first, anew only when pyproject.toml or constraints.txt changed. The code is run from src/.
PYTHON ?= python3
INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What `dragoman prepare tatoeba` leaves in out/data.
MANIFEST ?= out/data/dev.jsonl

.PHONY: demo evaluate test test-all test-small docs lint format

demo: .venv/.demo
	@if .venv/bin/dragoman fetch small >/dev/null; then \
	  .venv/bin/dragoman translate examples/people --model small --to all -o out/demo -f all; \
	else \
	  echo "small cannot be fetched; the built-in tiny translates synthetic voices instead."; \
	  .venv/bin/dragoman translate examples --model tiny --to all -o out/demo -f all; \
	fi

evaluate: .venv/.evaluate
	.venv/bin/dragoman evaluate $(MANIFEST) --model tiny --to all --out out/evaluate/tiny
	.venv/bin/dragoman evaluate $(MANIFEST) --model tiny --to all --out out/evaluate/tiny-text --text
	.venv/bin/dragoman report out/evaluate/tiny out/evaluate/tiny-text --manifest $(MANIFEST) --out out/evaluate/report

test: .venv/.dev
	.venv/bin/python -m pytest -n auto --dist worksteal -m 'not slow and not base_model and not network'

test-all: .venv/.dev
	.venv/bin/python -m pytest -n auto --dist worksteal -m 'not base_model and not network'

test-small: .venv/.dev
	.venv/bin/python -m pytest -m base_model

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet
	@echo out/site/index.html

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/.evaluate: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[evaluate]'
	touch $@ .venv/.demo

.venv/.docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[docs]'
	touch $@ .venv/.demo

.venv/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/.demo .venv/.evaluate
