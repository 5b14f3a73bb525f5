//! Waiting on state.

use std::time::{Duration, Instant};

/// How long anything may take: generous, for a machine that does other things too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How long to rest between two looks.
const REST: Duration = Duration::from_millis(5);

/// Looks until there is something, or fails naming `what` was waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    match within(DEADLINE, &mut look) {
        Some(found) => found,
        None => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Looks until there is something or the time is up.
pub(crate) fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(REST);
    }
}

/// A number from the environment, for longer runs than the default one.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}
