//! Events as they happen: a line per node that redraws itself on a terminal, one line per event elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{err, show};
use crate::ops::event::{Event, Reporter};

/// Where plans are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plans {
    /// On stderr: before a question always, else unless quiet.
    Here,
    /// They are the result, on stdout.
    Elsewhere,
    /// Nowhere.
    Silent,
}

impl Plans {
    /// Nobody is asked to agree to what is not shown.
    pub(super) fn of(dry_run: bool, quiet: bool, asks: bool) -> Plans {
        match (dry_run, quiet && !asks) {
            (true, _) => Plans::Elsewhere,
            (false, true) => Plans::Silent,
            (false, false) => Plans::Here,
        }
    }
}

/// Shows events on stderr.
pub(super) struct Progress {
    quiet: bool,
    colour: bool,
    plans: Plans,
    live: Option<Live>,
}

struct Live {
    multi: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Progress {
    pub(super) fn new(quiet: bool, terminal: bool, colour: bool, plans: Plans) -> Progress {
        let live = (terminal && !quiet).then(|| Live { multi: MultiProgress::new(), bars: Mutex::default() });
        Progress { quiet, colour, plans, live }
    }

    fn line(&self, text: &str) {
        match &self.live {
            Some(live) => live.multi.suspend(|| err(&format!("{text}\n"))),
            None => err(&format!("{text}\n")),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn working(&self, node: &str, text: &str) {
        let Some(live) = &self.live else { return self.line(&format!("  {node}: {text}")) };
        let Ok(mut bars) = live.bars.lock() else { return };
        let bar = bars.entry(node.to_owned()).or_insert_with(|| {
            let bar = live.multi.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(format!("{node}: {text}"));
    }

    fn ended(&self, node: &str) {
        if let Some(live) = &self.live
            && let Ok(mut bars) = live.bars.lock()
            && let Some(bar) = bars.remove(node)
        {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Progress {
    fn report(&self, event: &Event<'_>) {
        match event {
            // Said even when quiet: nobody should wonder.
            Event::Failed { node, text } => {
                self.ended(node);
                self.line(&self.paint("31", &format!("  {node}: failed: {text}")));
            }
            Event::Warning(text) => self.line(&self.paint("33", &format!("warning: {text}"))),
            Event::Plan(plan) => {
                if self.plans == Plans::Here {
                    self.line(show::plan(plan, self.colour).trim_end());
                }
            }
            _ if self.quiet => {}
            Event::Inventory { file, why } => self.line(&format!("inventory: {file} ({why})")),
            Event::Step { number, of, text } => {
                self.line(&self.paint("1", &format!("[{number}/{of}] {text}")))
            }
            Event::Working { node, text } => self.working(node, text),
            Event::Done { node, text } => {
                self.ended(node);
                if !text.is_empty() {
                    self.line(&format!("  {}: {text}", self.paint("32", node)));
                }
            }
            Event::Note(text) => self.line(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_shown_wherever_somebody_is_asked() {
        assert_eq!(Plans::of(false, true, true), Plans::Here);
        assert_eq!(Plans::of(false, false, false), Plans::Here);
        assert_eq!(Plans::of(false, true, false), Plans::Silent);
        assert_eq!(Plans::of(true, false, true), Plans::Elsewhere);
    }
}
