# `make` runs everything a contributor needs: format check, lint, types, tests.
.PHONY: check format ci soak
check: .venv
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest -n 2

format: .venv
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

ci:
	.ci/run

soak: .venv
	.venv/bin/pytest -m soak -s

.venv: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[test]'
	touch .venv
