# make up         builds, starts a one-node cluster with a sample application, and waits until it is ready
# make down       stops it; `skiff down --delete-data` also removes its data and the kubeconfig context
# make test       every tier; installs what it needs by apt
# make fuzz       feeds every decoder with what libFuzzer thinks of, ten minutes each; `make test` does 5 s each
# make bench      measures the release build, writes the table in SPECIFICATION.md, fails below a floor
# make test-fresh `make up` inside a minimal Debian made for it
# make test-vm    a cluster on Debian's cloud kernel, with systemd and cgroup v2, under qemu
.PHONY: up down build images test fuzz bench test-fresh test-vm setup

SKIFF  := $(or $(CARGO_TARGET_DIR),target)/release/skiff
IMAGES := $(or $(CARGO_TARGET_DIR),target)/images

up: build images
	scripts/up $(SKIFF) $(IMAGES)

down:
	$(SKIFF) down

build: setup
	cargo build --release --locked --package skiff

images: setup
	cargo xtask images --out $(IMAGES)

test: setup build images
	scripts/setup-clients
	cargo test --workspace --locked
	cargo xtask fuzz --seconds 5

fuzz: setup
	cargo xtask fuzz --seconds 600 --keep

bench: build
	cargo xtask bench

test-fresh: setup
	scripts/test-fresh

test-vm: setup build images
	scripts/test-vm $(SKIFF) $(IMAGES)

setup:
	scripts/setup
