//! Runs a target over seeded inputs, and tells how to replay the one that failed.

use crate::ledger;
use crate::mutate;
use crate::targets::Target;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;
use zkctl::prng::Prng;

/// An execution that takes longer was not bounded by its input: the inputs are some hundred bytes. Far above
/// what a busy machine adds.
const SLOW_SECONDS: u64 = 20;

/// A number of the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = env::var(name) else { return default };
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}"))
}

/// The input of a seed: bytes without form, or a valid one that was changed.
pub(crate) fn input(target: &Target, prng: &mut Prng) -> Vec<u8> {
    if prng.chance(1, 16) {
        return mutate::noise(prng);
    }
    let mut bytes = (target.sample)(prng);
    mutate::mutate(&mut bytes, prng);
    bytes
}

/// One execution under all bounds.
pub(crate) fn execute(target: &Target, bytes: &[u8]) {
    let (factor, constant) = target.memory;
    let bound = (bytes.len() * factor + constant) as u64;
    let began = Instant::now();
    let used = allocation_counter::measure(|| (target.run)(bytes));
    let took = began.elapsed();
    assert!(used.bytes_max <= bound, "{} bytes at once for {} bytes of input", used.bytes_max, bytes.len());
    assert!(took.as_secs() < SLOW_SECONDS, "{took:?} for {} bytes of input", bytes.len());
}

/// `FUZZ_RUNS` inputs (else the target's own number) from `FUZZ_SEED` on.
pub(crate) fn run(target: &Target) {
    let runs = number("FUZZ_RUNS", target.runs);
    let seed = number("FUZZ_SEED", 1);
    let began = Instant::now();
    for n in 0..runs {
        let mut prng = Prng::new(seed.wrapping_mul(0x1_0000_0000).wrapping_add(n));
        let bytes = input(target, &mut prng);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| execute(target, &bytes))) {
            ledger::record("fuzzing", target.name, [("executions", n + 1), ("crashes", 1)]);
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let name = target.name;
            eprintln!(
                "{name} fails; replay it with\nFUZZ_INPUT={hex} cargo test --test fuzz {name} -- one_input --ignored"
            );
            resume_unwind(panic);
        }
    }
    ledger::record("fuzzing", target.name, [("executions", runs), ("crashes", 0)]);
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    eprintln!("{}: {runs} executions, {:.0} a second", target.name, runs as f64 / seconds);
}

/// `FUZZ_INPUT`, in hex.
pub(crate) fn one_input(target: &Target) {
    let hex = env::var("FUZZ_INPUT").unwrap_or_default();
    execute(target, &bytes_of(&hex));
}

/// What hex digits say; white space between them is free.
pub(crate) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
