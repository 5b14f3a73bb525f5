# `make test` installs what the tests need (Debian packages, as root) and runs everything.
# `make bench` measures zkctl beside Apache ZooKeeper, whose jars ZK_CLASSPATH names.

.PHONY: test check deps bench soak fuzz mutants mutants-page reliability

deps:
	./tests/install-deps

check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --features mutants -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
	./tests/reliability --check

test: deps
	cargo test --locked
	cargo test --locked --features mutants --test sim mutants

bench:
	cargo build --release --locked
	./benches/versus.py $(BENCH)

# Looks for the seeds that kill the mutants; all MUTANT* settings (tests/sim/mutants.rs) can be given.
mutants:
	cargo test --release --locked --features mutants --test sim mutants::hunt -- --ignored --nocapture

# Writes what tests/sim/mutants.txt holds into docs/testing.md.
mutants-page:
	MUTANT_PAGE=1 cargo test --locked --features mutants --test sim mutants::the_page

# Makes docs/reliability.md of docs/reliability.jsonl, to which runs add their lines.
reliability:
	./tests/reliability

# Every target of fuzz/ under libFuzzer for FUZZ_SECONDS (60); needs a nightly toolchain and cargo-fuzz.
fuzz:
	./tests/fuzz/run

# One million acknowledged writes while fifty servers are killed; then three hundred power cuts, a thousand
# flipped bytes and failing disks; then half an hour of histories; then a hundred thousand inputs for each fuzz
# target; then a hundred thousand seeds of the simulator. All SOAK_*, POWER_*, CORRUPTION_*, DISK_FAULT_*, HISTORY_*,
# FUZZ_* and SIM_* settings can be given; PROOF_LEDGER names the file in which each run is written down.
soak:
	SOAK_KILLS=$${SOAK_KILLS:-50} SOAK_WRITES=$${SOAK_WRITES:-1000000} WORD_ROUNDS=$${WORD_ROUNDS:-1000} \
		cargo test --locked --test processes -- --nocapture kills words
	POWER_CUTS=$${POWER_CUTS:-300} CORRUPTION_FLIPS=$${CORRUPTION_FLIPS:-1000} \
		DISK_FAULT_ROUNDS=$${DISK_FAULT_ROUNDS:-20} cargo test --locked --test torture -- --nocapture
	HISTORY_SECONDS=$${HISTORY_SECONDS:-1800} \
		cargo test --locked --test torture -- --ignored --nocapture histories_of_all_sizes
	FUZZ_RUNS=$${FUZZ_RUNS:-100000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} \
		cargo test --locked --release --test fuzz -- --nocapture
	SIM_SEEDS=$${SIM_SEEDS:-0..100000} \
		cargo test --locked --release --test sim a_range -- --ignored --nocapture
