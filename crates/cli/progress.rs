//! How a run is getting on: a live line on a terminal; in a pipe a line every 10 s for a stream, nothing for a batch.

use std::cell::RefCell;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use runtime::{Mode, Observer, Progress};

use crate::global::{Global, When};
use crate::output::thousands;
use crate::report::say;
use crate::summary::rough;

/// How often a line is printed where no live one can be shown.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows the progress of one piece of work.
pub(crate) struct Shown {
    title: String,
    kind: Kind,
    state: RefCell<State>,
}

enum Kind {
    Live(ProgressBar),
    Lines,
    Nothing,
}

struct State {
    since: Instant,
    last: Instant,
    last_read: u64,
}

impl Shown {
    /// Decides how to show it.
    pub(crate) fn new(pipeline: &str, mode: Mode, global: &Global) -> Self {
        let title = format!("{pipeline} {}", crate::summary::mode_word(mode));
        Self::titled(title, mode == Mode::Stream, global)
    }

    /// The same for work that is not a run. `is_endless`: a pipe gets lines too.
    pub(crate) fn titled(title: String, is_endless: bool, global: &Global) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let kind = match global.progress {
            _ if global.quiet => Kind::Nothing,
            When::Never => Kind::Nothing,
            When::Auto | When::Always if is_terminal => Kind::Live(bar(&title)),
            When::Always => Kind::Lines,
            When::Auto if is_endless => Kind::Lines,
            When::Auto => Kind::Nothing,
        };
        let now = Instant::now();
        Self { title, kind, state: RefCell::new(State { since: now, last: now, last_read: 0 }) }
    }

    /// Tells how far work is that has no frontier.
    pub(crate) fn count(&self, done: u64, total: Option<u64>) {
        self.show(done, total, String::new);
    }

    /// Takes the live line away.
    pub(crate) fn finish(&self) {
        if let Kind::Live(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }

    fn show(&self, read: u64, total: Option<u64>, rest: impl FnOnce() -> String) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Live(bar) => {
                if let Some(total) = total.filter(|total| bar.length() != Some(*total)) {
                    bar.set_length(total.max(1));
                    bar.set_style(style(
                        "{prefix:.bold} {wide_bar:.cyan/dim} {human_pos}/{human_len} · {rate}{msg} · {eta}",
                    ));
                }
                bar.set_position(read);
                bar.set_message(rest());
            }
            Kind::Lines => {
                let mut state = self.state.borrow_mut();
                let now = Instant::now();
                let passed = now - state.last;
                if passed >= LINE_EVERY {
                    let rate = (read - state.last_read) as f64 / passed.as_secs_f64();
                    let seconds = (now - state.since).as_secs();
                    say(&format!(
                        "{}  {seconds} s  {} read · {}/s{}\n",
                        self.title,
                        thousands(read),
                        rough(rate),
                        rest()
                    ));
                    (state.last, state.last_read) = (now, read);
                }
            }
        }
    }
}

impl Observer for Shown {
    fn progress(&self, progress: &Progress) {
        self.show(progress.read, progress.total, || {
            let mut rest = String::new();
            if let Some(lag) = progress.lag {
                rest.push_str(&format!(" · lag {}", thousands(lag)));
            }
            if let Some((source, partition)) = &progress.held_by {
                // First who holds it: a narrow terminal cuts the end off.
                let at = progress.frontier.map_or("nowhere yet".to_string(), |frontier| {
                    runtime::time::rfc3339(frontier - frontier.rem_euclid(1_000_000))
                });
                rest.push_str(&format!(" · frontier held by {source}/{partition} at {at}"));
            }
            for (name, count) in [("late", progress.late), ("bad", progress.bad)] {
                if count > 0 {
                    rest.push_str(&format!(" · {name} {}", thousands(count)));
                }
            }
            rest
        });
    }
}

/// Shows how far a backfill is, whichever thread tells: a bar over the records that its chunks read, on a terminal.
pub(crate) struct Chunks {
    bar: Option<ProgressBar>,
    title: String,
}

impl Chunks {
    /// Begins to show it; so many records are to be read.
    pub(crate) fn new(title: String, records: u64, global: &Global) -> Self {
        let is_shown = !global.quiet && global.progress != When::Never && std::io::stderr().is_terminal();
        let bar = is_shown.then(|| {
            let bar = bar(&title);
            bar.set_length(records.max(1));
            bar.set_style(style("{prefix:.bold} {wide_bar:.cyan/dim} {human_pos}/{human_len} · {rate} · {eta}"));
            bar
        });
        Self { bar, title }
    }

    /// Returns true when a bar is to be seen.
    pub(crate) fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// Tells that some records more were read, or fewer if less than nothing.
    pub(crate) fn read(&self, more: i64) {
        let Some(bar) = &self.bar else { return };
        match more {
            ..0 => bar.dec(more.unsigned_abs()),
            _ => bar.inc(more.unsigned_abs()),
        }
        if bar.length().is_some_and(|length| bar.position() > length) {
            bar.set_length(bar.position());
        }
    }

    /// Tells how many chunks are done.
    pub(crate) fn done(&self, done: u64, of: u64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{} {done}/{of} chunks", self.title));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(title: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{prefix:.bold} {spinner} {human_pos} read · {rate}{wide_msg}"));
    bar.set_prefix(title.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn style(template: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // A rate that cannot be written is not worth an error.
        let _ = write!(out, "{}/s", rough(state.per_sec()));
    };
    ProgressStyle::with_template(template).expect("the template is right").with_key("rate", rate)
}
