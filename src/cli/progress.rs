//! Events as they happen: a line per node that redraws itself on a terminal, one line per event elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{err, show};
use crate::ops::event::{Event, Reporter};

/// Shows events on stderr.
pub(super) struct Progress {
    quiet: bool,
    colour: bool,
    /// Whether plans are data and go to stdout instead.
    plans_elsewhere: bool,
    live: Option<Live>,
}

struct Live {
    multi: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Progress {
    pub(super) fn new(quiet: bool, terminal: bool, colour: bool, plans_elsewhere: bool) -> Progress {
        let live = (terminal && !quiet).then(|| Live { multi: MultiProgress::new(), bars: Mutex::default() });
        Progress { quiet, colour, plans_elsewhere, live }
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
            _ if self.quiet => {}
            Event::Inventory { file, why } => self.line(&format!("inventory: {file} ({why})")),
            Event::Plan(plan) => {
                if !self.plans_elsewhere {
                    self.line(show::plan(plan, self.colour).trim_end());
                }
            }
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
