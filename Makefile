# `make demo` and `make test` need Python 3.10 or later and nothing else; they make the environment when it is missing.

PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest

# Tests run in two processes, each with one thread; the fast ones of a file stay together and share its fixtures.
PARALLEL = -n 2 --dist loadfile

# Errors of pip are shown, the rest is not.
export PIP_QUIET = 2
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Each of the many processes that tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

# By default torch's threads spin while they wait for each other, which on a busy machine takes three times as long.
export OMP_WAIT_POLICY ?= PASSIVE

.DELETE_ON_ERROR:
.PHONY: help demo image test slow nightly minimum ray libraries readme docs lint bench check clean

help:
	@echo "make demo    train a resnet18 on handwritten digits and export it (ARGS=\"--epochs 8\" passes options)"
	@echo "make image   train on PNG files, export with preprocessing, name the images without torch"
	@echo "make test    run the fast tests"
	@echo "make slow    run the slow tests"
	@echo "make nightly make minimum and make ray, the remaining tests, then export 1,000 random modules and judge the files (takes hours; SEEDS=0:100 for fewer)"
	@echo "make minimum run the fast tests with the lowest versions of all packages that are required"
	@echo "make ray     run the tests with Ray Train and Ray Tune, in an environment of their own"
	@echo "make libraries  train modules of other libraries and write docs/zoo.md (ARGS=monai)"
	@echo "make readme  run the code of the README, of docs/ and of the docstrings"
	@echo "make docs    train the demo for what the documentation shows of it, and build that into site/, warnings as errors"
	@echo "make lint    ruff, mypy and the order of imports"
	@echo "make bench   what exports cost, each number with its goal (ARGS=--slow for those that take minutes)"
	@echo "make check   all of it, as CI does"
	@echo "make clean   remove the environment and caches"

demo: $(VENV)/.examples
	$(BIN)/python examples/finetune_resnet.py $(ARGS)

image: $(VENV)/.examples
	$(BIN)/python examples/image_to_answer.py $(ARGS)

test: $(VENV)/.dev
	$(PYTEST) $(PARALLEL) --durations=20 -m "not slow"

slow: $(VENV)/.dev
	$(PYTEST) -n 2 --dist worksteal --timeout=600 --durations=20 -m "slow and not nightly" --ignore tests/test_readme.py

SEEDS ?= 0:1000

nightly: $(VENV)/.dev minimum ray
	$(PYTEST) -n 2 --dist worksteal --timeout=900 -m nightly
	$(BIN)/python -m tests.property --seeds $(SEEDS) --jobs 2

# The fast tests with the lowest versions that pyproject.toml allows; those of optional packages are left out.
minimum: build/minimum/.made
	PYTHONPATH=. build/minimum/bin/python -m pytest $(PARALLEL) -m "not slow" \
	  $(addprefix tests/,artifacts checks cli manifest module onnxfile pipeline report runtimes tracing) tests/test_golden.py

build/minimum/.made: $(VENV)/.dev pyproject.toml tests/minimum.py
	@$(PYTHON) -m venv --clear build/minimum
	@$(BIN)/python -m tests.minimum > build/minimum/constraints.txt
	@build/minimum/bin/python -m pip install --constraint build/minimum/constraints.txt --editable '.[variants,examples]' \
	  hypothesis pytest pytest-randomly pytest-timeout pytest-xdist
	@touch $@

# The tests with Ray, in an environment that shares all other packages with $(VENV).
ray: $(VENV)/.dev
	PYTHONPATH=$(CURDIR) $$($(BIN)/python -m tests.ray_environment) -m pytest -n 0 tests/training/test_ray_storage.py

libraries: $(VENV)/.dev
	$(BIN)/python -m tests.zoo.isolated $(ARGS)

readme: $(VENV)/.dev
	$(PYTEST) tests/test_readme.py
	$(PYTEST) --doctest-modules lightning_onnx

docs: $(VENV)/.dev
	$(BIN)/python -m docs.made
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/observer.py
	$(BIN)/python benchmarks/checkpoints.py --check
	$(BIN)/python -m benchmarks --check $(ARGS)

check: test lint readme docs slow

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist site

# A stamp is newer than pyproject.toml when what that asks for is installed.

$(VENV)/.created:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv --clear --upgrade-deps $(VENV)
	@touch $@

$(VENV)/.examples: $(VENV)/.created pyproject.toml
	@echo "installing lightning-onnx and what its examples need; torch is large, so this takes minutes"
	@$(BIN)/python -m pip install --editable '.[examples]'
	@touch $@

$(VENV)/.dev: $(VENV)/.examples
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@
