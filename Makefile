# make test   every tier that exists so far; installs what it needs by apt
.PHONY: test setup

test: setup
	cargo test --workspace --locked

setup:
	scripts/setup
