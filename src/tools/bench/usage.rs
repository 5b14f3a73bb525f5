//! CPU seconds: of other processes from /proc, of ourselves from the system's clocks.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io;

/// CPU seconds that a process and its threads have used, in steps of a clock tick.
pub(super) fn process_seconds(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in brackets and may hold anything; utime is the 12th field behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "its stat file has no CPU times");
        fields.get(at).and_then(|f| f.parse::<u64>().ok()).ok_or_else(bad)
    };
    Ok((ticks(11)? + ticks(12)?) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn clock(id: ClockId) -> f64 {
    let time = clock_gettime(id);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds that the calling thread has used.
pub(super) fn this_thread_seconds() -> f64 {
    clock(ClockId::ThreadCPUTime)
}

/// CPU seconds that all threads of this process have used.
pub(super) fn this_process_seconds() -> f64 {
    clock(ClockId::ProcessCPUTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_is_read() {
        let before = this_thread_seconds();
        let mut sum = 0u64;
        while this_thread_seconds() < before + 0.02 {
            sum = (0..100_000).fold(sum, |a, n| a.wrapping_mul(31).wrapping_add(n));
        }
        assert!(this_process_seconds() >= 0.02, "{sum}");
        assert!(process_seconds(std::process::id()).unwrap() >= 0.0);
        assert!(process_seconds(u32::MAX).is_err());
    }
}
