# make test   every tier that exists so far; installs what it needs by apt
# make bench  measures the release build, writes the table in SPECIFICATION.md, fails below a floor
.PHONY: test bench setup

test: setup
	cargo test --workspace --locked

bench: setup
	cargo xtask bench

setup:
	scripts/setup
