# The commands of the README. On Windows, or without make, it gives the plain ones.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test coverage check docs package format clean

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) scripts/bootstrap.py
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py

# One process per core. Tests use one thread of llama.cpp each, so that they do not disturb each other.
test: setup
	$(BIN)/python -m pytest --numprocesses auto

# The same with line coverage of the package, in two steps, because the workers write files of their own.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses auto
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/cold_start.py

# The documentation site, into site/; a broken link fails.
docs: setup
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# The sdist and the wheel, tried in an empty environment.
package: setup
	$(BIN)/python scripts/smoke_test.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
