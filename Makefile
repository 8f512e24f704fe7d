# The commands of the README. On Windows, or without make, it gives the plain ones.
PYTHON ?= python3
BIN := .venv/bin

# llama.cpp is compiled on this machine. GCC miscompiles its AMX kernels (they crash), so on processors that
# have AMX they are left out; see docs/install.md. CMAKE_ARGS from the environment is kept.
ifneq ($(shell grep -ls amx_int8 /proc/cpuinfo 2>/dev/null),)
NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
export CMAKE_ARGS := -DCMAKE_C_FLAGS='$(NO_AMX)' -DCMAKE_CXX_FLAGS='$(NO_AMX)' $(CMAKE_ARGS)
endif

.PHONY: setup demo test check docs package format clean

setup: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing; where llama.cpp is not compiled yet, that takes some minutes and says nothing."
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[study]' --group dev
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py

test: setup
	$(BIN)/python -m pytest

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
