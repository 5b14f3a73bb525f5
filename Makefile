# `make test` installs what the tests need (Debian packages, as root) and runs everything.

.PHONY: test check deps

deps:
	./tests/install-deps

check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

test: deps
	cargo test --locked
