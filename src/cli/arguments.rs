//! Every verb, flag and help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::Bench;
use super::purge::Purge;

const ROOT_HELP: &str = "\
{name} {version} - a ZooKeeper server, and the tool that operates ensembles of it

Usage: zkctl <VERB> [OPTIONS]

Make and change an ensemble
  deploy        Make hosts what the inventory says; a second run changes nothing
  add-observer  Convert a node to an observer, or add a new one
  promote       Make an observer a voter
  render        Show the files that deploy would write

Operate it
  status        Show every node, and whether writes are acknowledged
  start         Start nodes
  stop          Stop nodes
  restart       Restart nodes one at a time, the leader last

Run and check servers
  serve         Run a server in the foreground
  lint          Check zoo.cfg files, several together as one ensemble
  purge         Delete snapshots and logs that nothing needs any more
  bench         Load servers and measure them
{before-help}
Options
{options}
{after-help}";

const ROOT_EXAMPLES: &str = "\
Examples
  zkctl deploy inventories/prod.yaml
  zkctl status
  zkctl add-observer zk3
  zkctl help deploy";

const ROOT_LONG: &str = "\
Examples
  zkctl deploy inventories/prod.yaml
  zkctl status
  zkctl add-observer zk3
  zkctl help deploy

Which inventory a verb acts on
  The one named as argument or with -i; else ZKCTL_INVENTORY; else the one that
  was deployed from this directory last (.zkctl/current); else the only file in
  inventories/.

Exit codes
  0 done   1 failed   2 wrong usage, or no inventory   3 the inventory is wrong
  4 some hosts failed or cannot be reached   5 the quorum would be lost
  6 somebody else is operating   7 changes are pending (--exit-code)
  8 a host cannot work as it is   9 declined, or --yes is needed
  130 interrupted
  status: 0 healthy, 10 degraded, 11 no quorum
  serve: the original's (0 to 4, 10, 12 to 14); its own from 64";

const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nserves and speaks ZooKeeper 3.9: client protocol 0, quorum protocol 0x10000"
);

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "zkctl",
    version,
    long_version = LONG_VERSION,
    help_template = ROOT_HELP,
    after_help = ROOT_EXAMPLES,
    after_long_help = ROOT_LONG,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,

    /// The inventory to act on
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) inventory: Option<PathBuf>,

    /// Agree to everything that would be asked
    #[arg(short, long, global = true)]
    pub(super) yes: bool,

    /// What to print on stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    pub(super) output: Output,

    /// Say nothing while working
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(super) color: Colour,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the hosts what the inventory says
    #[command(after_help = "\
Examples
  zkctl deploy inventories/prod.yaml
  zkctl deploy --dry-run
  zkctl deploy inventories/local.yaml --yes

Facts are gathered first, then the plan is shown with file differences, then it
is asked for. Nodes that run are changed one at a time, the leader last, each
step proven by an acknowledged write. A second run changes nothing; a run that
was interrupted is completed by the next.")]
    Deploy(Deploy),

    /// Convert a node to an observer, or add a new one
    #[command(after_help = "\
Examples
  zkctl add-observer zk3                    convert zk3
  zkctl add-observer zk4 --host 10.0.0.4    add a new node

An observer serves clients and has no vote. The arithmetic is shown before
anything is done. The inventory is changed in place, comments and layout kept.")]
    AddObserver(AddObserver),

    /// Make an observer a voter
    #[command(after_help = "\
Examples
  zkctl promote zk3
  zkctl promote zk3 --dry-run")]
    Promote(Promote),

    /// Show the files that deploy would write
    #[command(after_help = "\
Examples
  zkctl render inventories/prod.yaml
  zkctl render --to /tmp/files")]
    Render(Render),

    /// Show every node, and whether writes are acknowledged
    #[command(after_help = "\
Examples
  zkctl status
  zkctl status --wide
  zkctl status -o json | jq -r .health

Writes are proven by opening a session on each node that serves. Exit code: 0
healthy, 10 degraded, 11 no write is acknowledged.")]
    Status(Status),

    /// Start nodes
    #[command(after_help = "\
Examples
  zkctl start
  zkctl start -l zk2")]
    Start(Control),

    /// Stop nodes
    #[command(after_help = "\
Examples
  zkctl stop
  zkctl stop -l zk2 --yes

Stopping some nodes is refused when the others would lose their quorum, unless
--force is given.")]
    Stop(Stop),

    /// Restart nodes one at a time, the leader last
    #[command(after_help = "\
Examples
  zkctl restart
  zkctl restart -l zk1 -l zk2

Each is proven by an acknowledged write before the next. It is asked for where
writes would stop, and where no server leads: then all are restarted at once.")]
    Restart(Control),

    /// Run a server in the foreground
    #[command(after_help = "\
Examples
  zkctl serve conf/zoo.cfg
  zkctl serve -c conf/zoo.cfg --log-dir logs -D zookeeper.snapCount=50000

Without a file it takes ./conf/zoo.cfg, else ../conf/zoo.cfg beside the program.")]
    Serve(Serve),

    /// Check zoo.cfg files, several together as one ensemble
    #[command(after_help = "\
Examples
  zkctl lint conf/zoo.cfg
  zkctl lint zk1/conf/zoo.cfg zk2/conf/zoo.cfg zk3/conf/zoo.cfg

Exit code: 0 nothing wrong (there may be warnings), 3 errors.")]
    Lint(Lint),

    /// Delete snapshots and logs that nothing needs any more
    #[command(after_help = "\
Examples
  zkctl purge -c /data/server/zk1/conf/zoo.cfg -n 5
  zkctl purge /data/server/zk1/data /data/server/zk1/txlog -n 3 --dry-run

The newest COUNT whole snapshots stay, and every log that one of them needs.
The server may be running; by itself it purges as autopurge.* in its zoo.cfg
says. bin/zkCleanup.sh on the hosts takes the original's arguments.")]
    Purge(Purge),

    /// Load servers and measure them
    #[command(after_help = "\
Examples
  zkctl bench zk1:2181,zk2:2181,zk3:2181
  zkctl bench --mix set -c 64 -p 16 127.0.0.1:2181
  zkctl bench --mix get --rate 10000 -o json zk1:2181
  zkctl bench --null -c 64 -p 16

It makes its znodes below /zkctl-bench-<pid> and removes them at the end, also
when interrupted. At a fixed rate requests leave when they are due, as those of
many independent clients do, and latency counts from when a request was due.")]
    Bench(Bench),

    /// Print this host's facts as JSON
    #[command(hide = true)]
    Probe {
        /// The request, as JSON
        request: String,
    },

    /// Work on this host for the operator's side
    #[command(hide = true, subcommand)]
    Host(Host),
}

/// `deploy`.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The inventory to act on
    #[arg(value_name = "INVENTORY")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) change: Change,
}

/// What every verb that changes an ensemble takes.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Show the plan and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// With --dry-run: exit with 7 when there is something to do
    #[arg(long, requires = "dry_run")]
    pub(super) exit_code: bool,
    /// The program to put on the hosts; this one unless named
    #[arg(long, value_name = "FILE")]
    pub(super) binary: Option<PathBuf>,
    /// Use the templates in this directory in place of the embedded ones
    #[arg(long, value_name = "DIR")]
    pub(super) template_dir: Option<PathBuf>,
    /// Allow this node's address or data path to change
    #[arg(long, value_name = "NODE")]
    pub(super) allow_move: Vec<String>,
    /// Leave the live member of this id out for good
    #[arg(long, value_name = "ID")]
    pub(super) forget: Vec<i64>,
}

/// `add-observer`.
#[derive(Debug, Args)]
pub(super) struct AddObserver {
    /// The node: an existing one is converted, a new one added
    pub(super) node: String,
    /// The new node's host, as ssh reaches it
    #[arg(long)]
    pub(super) host: Option<String>,
    /// The new node's address for the other servers, where it differs
    #[arg(long, requires = "host")]
    pub(super) address: Option<String>,
    /// The new node's id; the next free one unless given
    #[arg(long, requires = "host")]
    pub(super) id: Option<i64>,
    #[command(flatten)]
    pub(super) change: Change,
}

/// `promote`.
#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The observer
    pub(super) node: String,
    #[command(flatten)]
    pub(super) change: Change,
}

/// `render`.
#[derive(Debug, Args)]
pub(super) struct Render {
    /// The inventory to act on
    #[arg(value_name = "INVENTORY")]
    pub(super) file: Option<PathBuf>,
    /// Write the files below this directory
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// Use the templates in this directory in place of the embedded ones
    #[arg(long, value_name = "DIR")]
    pub(super) template_dir: Option<PathBuf>,
}

/// `status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The inventory to act on
    #[arg(value_name = "INVENTORY")]
    pub(super) file: Option<PathBuf>,
    /// Show the three ports of each node too
    #[arg(short, long)]
    pub(super) wide: bool,
}

/// `start` and `restart`.
#[derive(Debug, Args)]
pub(super) struct Control {
    /// The inventory to act on
    #[arg(value_name = "INVENTORY")]
    pub(super) file: Option<PathBuf>,
    /// Only this node; may be given several times
    #[arg(short, long, value_name = "NODE", value_delimiter = ',')]
    pub(super) limit: Vec<String>,
    /// Say what would be done, in order, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// With --dry-run: exit with 7 when there is something to do
    #[arg(long, requires = "dry_run")]
    pub(super) exit_code: bool,
}

/// `stop`.
#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    pub(super) control: Control,
    /// Stop even if the others lose their quorum
    #[arg(long)]
    pub(super) force: bool,
}

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The zoo.cfg
    #[arg(value_name = "CONFIG", conflicts_with = "config")]
    pub(super) file: Option<PathBuf>,
    /// The zoo.cfg
    #[arg(short, long, value_name = "CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Log to files in this directory instead of stderr
    #[arg(long, value_name = "DIR")]
    pub(super) log_dir: Option<PathBuf>,
    /// Set a property, as -Dname=value of the original
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = define)]
    pub(super) defines: Vec<(String, String)>,
    /// Write who this server is into this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) state_file: Option<PathBuf>,
    /// The systemd unit that runs it
    #[arg(long, value_name = "UNIT", hide = true)]
    pub(super) unit: Option<String>,
    /// That unit is a user's
    #[arg(long, requires = "unit", hide = true)]
    pub(super) user_unit: bool,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    pub(super) detached: bool,
}

fn define(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// `lint`.
#[derive(Debug, Args)]
pub(super) struct Lint {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// What runs on hosts.
#[derive(Debug, Subcommand)]
pub(super) enum Host {
    /// Answer a request on stdin
    Request,
    /// Write the drop-in scripts into a directory
    Scripts {
        /// The directory
        directory: PathBuf,
    },
    /// A verb of zkServer.sh
    DropIn {
        /// start, stop, status or print-cmd
        verb: String,
        /// The zoo.cfg
        #[arg(long)]
        config: PathBuf,
        /// Where the server logs; where it was deployed to log, unless given
        #[arg(long)]
        log_dir: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_grouped_help_names_every_verb_and_no_other() {
        let mut command = Arguments::command();
        let help = command.render_help().to_string();
        for verb in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            assert!(help.contains(&format!("\n  {} ", verb.get_name())), "{}\n{help}", verb.get_name());
        }
    }

    #[test]
    fn no_help_is_wider_than_eighty_columns_and_each_has_two_examples() {
        let mut root = Arguments::command();
        root.build();
        let mut all = vec![root.render_long_help().to_string()];
        for verb in root.get_subcommands_mut().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            let text = verb.render_long_help().to_string();
            let examples = text.lines().filter(|l| l.starts_with("  zkctl ")).count();
            assert!(examples >= 2, "{}: {examples} examples", verb.get_name());
            all.push(text);
        }
        for text in all {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
