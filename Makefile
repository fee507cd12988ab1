VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DATA_DIR ?= data
WORKERS ?= 2

.PHONY: train test lint format notebooks constraints

train: $(VENV)/.installed  ## trains a VAE on the embedded handwritten digits
	$(BIN)/pyro-vae train "VAE(latent_dim=10, likelihood=Binomial(total_count=16))" \
		--data "digits(binarize=None)" --epochs 400 --out runs/digits

test: $(VENV)/.installed lint  ## lint, types and tests, WORKERS of them at a time
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(VENV)/.installed  ## runs the lessons again with their full sizes and saves them; DATA_DIR has MNIST
	DATA_DIR="$(abspath $(DATA_DIR))" $(BIN)/jupyter-execute --inplace notebooks/*.ipynb
	$(BIN)/jupyter-execute --inplace notebooks/solutions/*.ipynb

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

constraints:  ## installs the newest versions that pyproject.toml allows, and writes them down if the tests pass
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(VENV)/.installed
	$(MAKE) --no-print-directory test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[benchmarks]"
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > constraints.txt
	touch $(VENV)/.installed
