# `make train` and `make test` need nothing but a Linux x86-64 machine with a
# network and some Python; they bring the rest. ARGS go to the program:
#   make train ARGS="--dp=none"

.PHONY: help train test lint lock clean

help:
	@echo "make train   install, and train on handwritten digits with privacy"
	@echo "make test    install, and run the whole test suite"
	@echo "make lint    check style"
	@echo "make lock    regenerate the locked requirements (needs uv)"
	@echo "make clean   remove what make has installed; runs/ stays"

train:
	@bash .requirements/install.sh
	@.venv/bin/python -m experiments.train --flagfile=experiments/quickstart.flags $(ARGS)

test:
	@bash .requirements/install.sh test
	@.venv/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

lint:
	@bash .requirements/install.sh test
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

lock:
	@bash .requirements/compile.sh $(ARGS)

clean:
	rm -rf .venv .uv .build
