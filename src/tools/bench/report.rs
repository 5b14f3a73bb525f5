//! What a run came to: counted while it runs, then as a table or as JSON.

use super::connection::{Issued, Kind};
use super::usage;
use super::{BenchError, BenchOptions};
use crate::wire::errcode::ErrorCode;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Latencies above are counted as this one: nobody waits longer.
const LATENCY_MAX_NS: u64 = 600_000_000_000;
/// Decimal digits that a latency keeps.
const DIGITS: u8 = 3;

fn histogram() -> Histogram<u64> {
    // The bounds are constants and right.
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS)
        .unwrap_or_else(|e| unreachable!("a histogram's bounds: {e}"))
}

/// What is counted.
#[derive(Debug)]
pub(super) struct Counted {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    last_answer: u64,
    longest_pause: u64,
}

impl Counted {
    pub(super) fn new() -> Counted {
        let (reads, writes) = (histogram(), histogram());
        Counted { reads, writes, errors: BTreeMap::new(), last_answer: 0, longest_pause: 0 }
    }

    /// Measuring begins.
    pub(super) fn begin(&mut self, now: u64) {
        self.last_answer = now;
    }

    /// Measuring ends.
    pub(super) fn end(&mut self, now: u64) {
        self.longest_pause = self.longest_pause.max(now.saturating_sub(self.last_answer));
    }

    /// An answer came.
    pub(super) fn answer(&mut self, issued: Issued, err: ErrorCode, now: u64) {
        if !err.is_ok() {
            *self.errors.entry(err.to_string()).or_default() += 1;
            return;
        }
        let latencies = match issued.kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        };
        latencies.saturating_record(now.saturating_sub(issued.at).max(1));
        self.longest_pause = self.longest_pause.max(now - self.last_answer);
        self.last_answer = now;
    }

    /// Requests whose answers will never come.
    pub(super) fn lost(&mut self, count: u64) {
        if count > 0 {
            *self.errors.entry("CONNECTIONLOSS".into()).or_default() += count;
        }
    }
}

/// CPU seconds at a moment, or between two.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    generator: f64,
    /// Of our own process: the generator's and, in a null run, the null server's.
    process: f64,
    servers: Vec<(u32, f64)>,
}

impl Usage {
    /// Reads the counters of the generator, which is the calling thread, and of the servers.
    pub(super) fn read(options: &BenchOptions) -> Result<Usage, BenchError> {
        let server = |pid: &u32| match usage::process_seconds(*pid) {
            Ok(seconds) => Ok((*pid, seconds)),
            Err(error) => Err(BenchError::Process { pid: *pid, error }),
        };
        let (generator, process) = (usage::this_thread_seconds(), usage::this_process_seconds());
        let servers = options.server_pids.iter().map(server).collect::<Result<_, _>>()?;
        Ok(Usage { generator, process, servers })
    }

    /// What was used between `before` and this.
    pub(super) fn since(&self, before: &Usage) -> Usage {
        let servers = self.servers.iter().zip(&before.servers);
        Usage {
            generator: self.generator - before.generator,
            process: self.process - before.process,
            servers: servers.map(|((pid, now), (_, then))| (*pid, now - then)).collect(),
        }
    }
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many there are.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// Half are not longer.
    pub p50: f64,
    /// Nine of ten are not longer.
    pub p90: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// 999 of 1000 are not longer.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Latency {
        if latencies.is_empty() {
            return Latency::default();
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile| ms(latencies.value_at_quantile(quantile));
        Latency {
            count: latencies.len(),
            min: ms(latencies.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(latencies.max()),
        }
    }
}

/// CPU time of one server's process while it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerUsage {
    /// Its id.
    pub pid: u32,
    /// CPU seconds.
    pub seconds: f64,
    /// CPU seconds for 100,000 operations of the whole load.
    pub per_100k: f64,
}

/// A run's results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// The operations' name.
    pub mix: &'static str,
    /// Sessions.
    pub connections: usize,
    /// Requests under way per session.
    pub pipeline: usize,
    /// Bytes of data.
    pub value_bytes: usize,
    /// The fixed rate, if there was one.
    pub rate: Option<u64>,
    /// Whether it was the null server.
    pub null: bool,
    /// How long was measured.
    pub seconds: f64,
    /// Operations answered without an error.
    pub operations: u64,
    /// The same per second.
    pub per_second: f64,
    /// Errors by their names in the protocol.
    pub errors: BTreeMap<String, u64>,
    /// All latencies.
    pub latency: Latency,
    /// Those of reads.
    pub reads: Latency,
    /// Those of writes.
    pub writes: Latency,
    /// The longest time without an answer, in milliseconds.
    pub longest_pause: f64,
    /// CPU seconds of the generator's thread.
    pub generator_seconds: f64,
    /// CPU seconds of the generator for 100,000 operations.
    pub generator_per_100k: f64,
    /// CPU seconds of the null server for 100,000 operations.
    pub null_per_100k: Option<f64>,
    /// The servers whose processes were named.
    pub servers: Vec<ServerUsage>,
    /// CPU seconds of all of them for 100,000 operations.
    pub servers_per_100k: Option<f64>,
}

impl BenchReport {
    pub(super) fn new(options: &BenchOptions, counted: &Counted, seconds: f64, used: &Usage) -> BenchReport {
        let mut all = counted.reads.clone();
        // The bounds are the same: nothing can be out of range.
        all.add(&counted.writes).unwrap_or_else(|e| unreachable!("histograms of one kind: {e}"));
        let operations = all.len();
        let per_100k = |cpu: f64| if operations == 0 { 0.0 } else { cpu * 1e5 / operations as f64 };
        let server = |&(pid, seconds)| ServerUsage { pid, seconds, per_100k: per_100k(seconds) };
        let servers: Vec<_> = used.servers.iter().map(server).collect();
        let together: f64 = servers.iter().map(|s| s.seconds).sum();
        BenchReport {
            mix: options.mix.name(),
            connections: options.connections,
            pipeline: options.pipeline,
            value_bytes: options.value_bytes,
            rate: options.rate,
            null: options.null,
            seconds,
            operations,
            per_second: if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            errors: counted.errors.clone(),
            latency: Latency::of(&all),
            reads: Latency::of(&counted.reads),
            writes: Latency::of(&counted.writes),
            longest_pause: counted.longest_pause as f64 / 1e6,
            generator_seconds: used.generator,
            generator_per_100k: per_100k(used.generator),
            null_per_100k: options.null.then(|| per_100k((used.process - used.generator).max(0.0))),
            servers_per_100k: (!servers.is_empty()).then(|| per_100k(together)),
            servers,
        }
    }

    /// For programs: one object.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of them: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_else(|e| unreachable!("a report as JSON: {e}"))
    }

    /// For people.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let target = if self.null { ", null server" } else { "" };
        let rate = self.rate.map_or_else(String::new, |r| format!(" at {r}/s"));
        writeln!(
            out,
            "{} of {} bytes{rate}, {} connections x {} in flight{target}",
            self.mix, self.value_bytes, self.connections, self.pipeline
        )?;
        let (count, seconds) = (grouped(self.operations), self.seconds);
        writeln!(
            out,
            "  {:>12} ops/s   ({count} in {seconds:.2} s)",
            grouped(self.per_second.round() as u64)
        )?;
        let errors: u64 = self.errors.values().sum();
        let kinds: Vec<_> = self.errors.iter().map(|(name, n)| format!("{name} {}", grouped(*n))).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!("  ({})", kinds.join(", ")) };
        writeln!(out, "  {:>12} errors{kinds}", grouped(errors))?;
        let header = ["min", "p50", "p90", "p99", "p99.9", "max"];
        writeln!(
            out,
            "\n  latency, ms {}",
            header.iter().fold(String::new(), |line, h| line + &format!("{h:>10}"))
        )?;
        let both = self.reads.count > 0 && self.writes.count > 0;
        for (name, latency, shown) in
            [("all", &self.latency, true), ("reads", &self.reads, both), ("writes", &self.writes, both)]
        {
            if shown {
                let values = [latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
                let line = values.iter().fold(String::new(), |line, v| line + &format!("{v:>10.3}"));
                writeln!(out, "  {name:<12}{line}")?;
            }
        }
        writeln!(out, "  longest time without an answer: {:.1} ms", self.longest_pause)?;
        self.write_usage(out)
    }

    fn write_usage(&self, out: &mut String) -> std::fmt::Result {
        let share = if self.seconds > 0.0 { 100.0 * self.generator_seconds / self.seconds } else { 0.0 };
        writeln!(out, "\n  CPU seconds per 100,000 operations")?;
        writeln!(
            out,
            "  {:<18}{:>8.3}   ({share:.0} % of one core)",
            "this generator", self.generator_per_100k
        )?;
        if let Some(null) = self.null_per_100k {
            writeln!(out, "  {:<18}{null:>8.3}", "null server")?;
        }
        for server in &self.servers {
            writeln!(out, "  {:<18}{:>8.3}", format!("process {}", server.pid), server.per_100k)?;
        }
        match self.servers_per_100k {
            Some(together) if self.servers.len() > 1 => {
                writeln!(out, "  {:<18}{together:>8.3}", "servers together")
            }
            _ => Ok(()),
        }
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::bench::Mix;

    fn report() -> BenchReport {
        let mut counted = Counted::new();
        counted.begin(1_000_000);
        for n in 1..=100u64 {
            let kind = if n % 10 == 0 { Kind::Write } else { Kind::Read };
            counted.answer(Issued { kind, at: 0, xid: 1 }, ErrorCode::OK, n * 1_000_000);
        }
        counted.answer(Issued { kind: Kind::Read, at: 0, xid: 1 }, ErrorCode::NONODE, 101_000_000);
        counted.lost(3);
        counted.end(130_000_000);
        let options = BenchOptions { mix: Mix::Mixed, ..BenchOptions::default() };
        let used = Usage { generator: 0.01, process: 0.01, servers: vec![(7, 0.5), (8, 0.25)] };
        BenchReport::new(&options, &counted, 2.0, &used)
    }

    #[test]
    fn what_is_counted_is_reported() {
        let report = report();
        assert_eq!((report.operations, report.per_second), (100, 50.0));
        assert_eq!((report.reads.count, report.writes.count), (90, 10));
        assert!((report.latency.p50 - 50.0).abs() < 0.1, "{:?}", report.latency);
        assert!((report.latency.max - 100.0).abs() < 0.2);
        assert!((report.longest_pause - 30.0).abs() < 0.001);
        assert_eq!(report.errors, [("CONNECTIONLOSS".into(), 3), ("NONODE".into(), 1)].into());
        assert_eq!(report.servers_per_100k, Some(750.0));
    }

    #[test]
    fn both_forms_hold_the_figures() {
        let table = report().to_table();
        for part in ["mixed of 1024 bytes, 16 connections x 1 in flight", "50 ops/s", "4 errors", "reads"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(json["operations"], 100);
        assert_eq!(json["latency"]["p99.9"], json["latency"]["max"]);
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
