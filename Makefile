# Onhand: what a newcomer needs. `make` alone lists it.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release
# make run PORT=4200: other ports. make bench P=P1: only one bar. make retail LIMIT=500: a quick look.
PORT ?= 4100
P ?= all
LIMIT ?=
# make sim SEED=7: one seed, told line by line. make soak SEEDS=1000: fewer.
SEED ?=
SEEDS ?= 100000
# make chaos MINUTES=60: longer.
MINUTES ?= 5
# make endurance OPERATIONS=20000000: longer, at 10,000 a second. make endurance HOURS=24: a day at 1,000 requests a second.
OPERATIONS ?= 3600000
HOURS ?=
# make fuzz FUZZ_SECONDS=600 TARGETS="frame record": longer, and not all of them.
FUZZ_SECONDS ?= 60
TARGETS ?=

.DEFAULT_GOAL := help
.PHONY: help run test fuzz bench retail sim soak chaos endurance lint fmt ci clean release

help: ## this list
	@echo "Onhand: store nodes that never lose or double a unit, and a global view that proves the sum."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: release ## three stores and the global view on this machine, with sample data in ./data (Ctrl-C stops)
	@exec $(RELEASE)/demo --port $(PORT)

test: ## all tests, end-to-end ones included, and a summary
	@CARGO="$(CARGO)" tests/run.sh

fuzz: ## look for bytes that break a decoder, FUZZ_SECONDS (60) for each of TARGETS (all)
	@CARGO="$(CARGO)" tests/fuzz.sh $(FUZZ_SECONDS) $(TARGETS)

bench: release ## measure against peers, report in bench/report.md (P=P1: only one bar)
	@tests/need.sh wrk
	@tests/need.sh /usr/lib/postgresql/15/bin/initdb=postgresql-15 redis-server || true
	@mkdir -p bench
	@$(RELEASE)/bench --parts $(P)

retail: release ## real till receipts from ONHAND_DATA (default ../shared/data), compared with sqlite (LIMIT=n baskets)
	@tests/need.sh sqlite3 zstd
	@mkdir -p bench
	@$(RELEASE)/retail --json bench/retail.json $(if $(LIMIT),--limit $(LIMIT))

sim: ## the whole system, broken on purpose, from seeds (SEED=n tells one line by line)
	@$(CARGO) build --release --quiet -p simulation
	@$(RELEASE)/sim $(if $(SEED),--seed $(SEED))

soak: ## the same for SEEDS=100000 seeds, one thread for each core
	@$(CARGO) build --release --quiet -p simulation
	@$(RELEASE)/sim --count $(SEEDS)

chaos: release ## real processes, killed and cut off, on full and dying disks, for MINUTES=5 (SEED=n: another schedule)
	@tests/need.sh strace || true
	@$(RELEASE)/chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

endurance: release ## a mixed load for long (OPERATIONS=3600000, or HOURS=n): memory, files, disk, latency stay flat?
	@mkdir -p bench
	@$(RELEASE)/endurance $(if $(HOURS),--hours $(HOURS),--operations $(OPERATIONS))

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p concurrency --features shuttle --all-targets -- -D warnings

fmt: ## format all sources
	$(CARGO) fmt --all

ci: lint test ## what every change must pass

clean: ## remove build output, demonstration data and reports
	$(CARGO) clean
	rm -rf data bench

release:
	@$(CARGO) build --release --workspace --exclude simulation --exclude properties --bins --quiet
