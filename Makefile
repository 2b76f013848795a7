# make demo | test | proof | bench | setup | demo-reset | lock
PYTHON ?= $(shell for p in python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
UV := $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
LOCAL_DIR ?= .local
RUN := .venv/bin/python
JOBS ?= 2

# A demo and the tests start many processes: what Python compiled is kept for the next one, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo demo-reset test proof bench lint lock

setup: .venv/installed

# uv installs the pinned, hashed requirements in seconds; where it is missing pip puts it into .venv first.
# An index that pip was configured with is passed on, so that both ask the same one.
.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.12 or newer is needed."; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null 2>&1 || .venv/bin/pip install --quiet --disable-pip-version-check uv
	@index=$$(.venv/bin/pip config get global.index-url 2>/dev/null || true); \
	UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$${index:-}}}; \
	if [ -n "$$UV_DEFAULT_INDEX" ]; then export UV_DEFAULT_INDEX; else unset UV_DEFAULT_INDEX; fi; \
	$(UV) pip install --quiet --python $(RUN) --require-hashes -r requirements.txt
	@touch .venv/installed

demo: setup
	@LOCAL_DIR="$(LOCAL_DIR)" exec $(RUN) -m sandbox.demo

demo-reset:
	@$(RUN) -m sandbox.reset "$(LOCAL_DIR)"

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy .
	$(RUN) manage.py makemigrations --check --dry-run

test: lint
	$(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

proof: setup
	PROOF=1 $(RUN) -m pytest

bench: setup
	$(RUN) -m tests.bench

# Compiles pyproject.toml's dependencies to pinned, hashed requirements.txt.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.12 --all-extras --generate-hashes \
		--no-emit-index-url --no-header --output-file requirements.txt pyproject.toml
