//! `zkctl bench`: its flags, and showing what a load came to.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{err, out};
use crate::tools::bench::{BenchError, BenchOptions, Length, Mix, run as run_load};

/// `bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Servers as HOST:PORT; sessions are spread over them in turn
    #[arg(value_name = "SERVER", value_delimiter = ',', default_value = "127.0.0.1:2181")]
    servers: Vec<String>,
    /// Sessions, each with a connection of its own
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// Requests that each session keeps in flight
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pipeline: usize,
    /// What to ask for
    #[arg(short, long, value_enum, default_value_t = Operations::Mixed)]
    mix: Operations,
    /// Bytes of data in each znode
    #[arg(short, long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Znodes that get and set choose from
    #[arg(short, long, value_name = "N", default_value_t = 1000)]
    keys: u64,
    /// Measure for so long
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10.0)]
    time: f64,
    /// Measure so many operations instead
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "time")]
    count: Option<u64>,
    /// Load before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Requests per second in all, sent when due; latency counts from then
    #[arg(short, long, value_name = "N")]
    rate: Option<u64>,
    /// Report the CPU time of these processes (on this host)
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Measure a server that does nothing: the price of the kernel alone
    #[arg(long)]
    null: bool,
    /// Leave the znodes of the run where they are
    #[arg(long)]
    keep: bool,
    /// Seed of the choice of keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Mixes of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operations {
    /// setData of random keys
    Set,
    /// getData of random keys
    Get,
    /// create of new znodes
    Create,
    /// Nine getData to one setData
    Mixed,
}

impl Bench {
    fn options(&self) -> Result<BenchOptions, String> {
        let seconds = |value: f64, flag: &str| {
            Duration::try_from_secs_f64(value).map_err(|_| format!("{flag} {value} is no time"))
        };
        let length = match self.count {
            Some(count) => Length::Operations(count),
            None => Length::Time(seconds(self.time, "--time")?),
        };
        Ok(BenchOptions {
            servers: self.servers.clone(),
            connections: self.connections,
            pipeline: self.pipeline,
            mix: match self.mix {
                Operations::Set => Mix::Set,
                Operations::Get => Mix::Get,
                Operations::Create => Mix::Create,
                Operations::Mixed => Mix::Mixed,
            },
            value_bytes: self.size,
            keys: self.keys,
            warm_up: seconds(self.warm_up, "--warm-up")?,
            length,
            rate: self.rate,
            server_pids: self.server_pids.clone(),
            null: self.null,
            keep: self.keep,
            seed: self.seed,
            stop: Arc::default(),
        })
    }
}

/// The first interrupt ends the load, which cleans up; the second one ends the process.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Runs a load and shows its report; answers the exit code.
pub(super) fn run(arguments: &Bench, json: bool) -> u8 {
    let fail = |text: &str, code: u8| {
        err(&format!("zkctl bench: {text}\n"));
        code
    };
    let options = match arguments.options() {
        Ok(options) => options,
        Err(text) => return fail(&text, 2),
    };
    if let Err(error) = stop_on_interrupt(&options.stop) {
        return fail(&error.to_string(), 1);
    }
    match run_load(&options) {
        Ok(report) if json => out(&format!("{}\n", report.to_json())),
        Ok(report) => out(&report.to_table()),
        Err(error @ BenchError::Interrupted) => return fail(&error.to_string(), 130),
        Err(error) => return fail(&error.to_string(), 1),
    }
    0
}
