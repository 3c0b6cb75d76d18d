//! Each epoch once, and by one run at a time: the decisions that every sink with epochs needs, made here and nowhere else.
//!
//! A sink of that kind is a [`Place`]: it stores rows and, in the same atomic unit or after all of them, a [`Mark`] that says whose
//! rows they are and up to which epoch. [`Once`] makes a [`Sink`] of it:
//!
//! | The place holds | A run of the same job | A run of another job, or without checkpoints |
//! | --- | --- | --- |
//! | nothing | publishes from its first epoch on | the same |
//! | the mark of that job, epoch n | is told that it holds n; epochs up to n are not published again | replaces all |
//! | the mark of another job | replaces all; where rows cannot be taken back it is told so | the same |
//!
//! Whether epochs between the mark and the checkpoints are kept is known to who keeps checkpoints: `runtime::outlet` asks
//! for what is held, gives again what is lacking, and says `E_SINK_DIVERGED` where that is gone or the mark is ahead.
//!
//! A run over a range replaces rows of another run: it leaves that one's mark as it is. Where that is a stream, which may be
//! going on, the run does not take the place: it replaces the rows of windows that both have settled ([`Sink::settle`]), in one
//! commit between two of the stream's. None of these rows comes again from either, and all others are the stream's own.
//!
//! A place that several processes can reach keeps two more things beside the mark: a word of the process that may write, and
//! a count of its commits. Who starts puts its own word there. A commit is made if both are as this process knows them; if
//! not, [`judge`] says what has happened: the commit before came through and its answer was lost, or another one has come.

use arrow::array::RecordBatch;
use engine::edge::{Beside, Published, Replace, Sink};
use engine::{Code, Error, Result};

use super::rows::WindowRange;
use super::{Context, token};

/// Whose rows a place holds, and up to which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The job; None: a run without checkpoints.
    pub(super) job: Option<String>,
    /// The last of its epochs that is there.
    pub(super) epoch: u64,
    /// Every row of its windows that begin before this time is there; None: that is not known of any.
    pub(super) settled: Option<i64>,
}

/// What a place holds when a run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing, or rows that nobody has to be asked about.
    Nothing,
    /// Rows with this mark.
    Rows(Mark),
    /// It keeps no mark.
    Unknown,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Its epoch.
    pub(super) epoch: u64,
    /// What it replaces, if it is the first of its run. Every commit replaces the open rows of the one before.
    pub(super) first: Option<Replace>,
    /// The range that the run replaces: rows outside of it are another run's, the open ones too.
    pub(super) range: Option<WindowRange>,
    /// What the place says from now on; None: what it said before.
    pub(super) mark: Option<Mark>,
    /// The job whose rows are replaced by a run that has not taken the place; the place is still that job's, or nothing is done.
    pub(super) beside: Option<String>,
}

/// Where rows are stored together with the mark that says which they are.
///
/// `held` is asked once, then `begin` is called, then `stage` any number of times and `publish` or `forget`, again and again.
pub(super) trait Place: Send {
    /// Takes the place for this process if it is a sink's, so that an older one publishes nothing from now on; returns what
    /// it holds. Rows are not touched.
    fn held(&mut self) -> Result<Held>;
    /// Checks that rows can be written, prepares to replace what is there, and returns what it holds. All of it stays
    /// readable until the first `publish`.
    fn begin(&mut self, replace: Replace) -> Result<Held>;
    /// Returns whose rows it holds, as far as that is known without taking it.
    fn seen(&mut self) -> Result<Held> {
        Ok(Held::Nothing)
    }
    /// Returns whether a run over a range can replace rows between two commits of the stream that writes it.
    fn is_shared(&self) -> bool {
        false
    }
    /// Checks in place of `begin` that rows can be written beside the stream that writes it.
    fn begin_beside(&mut self) -> Result<()> {
        unreachable!("only a place that is shared is written by two")
    }
    /// Takes rows.
    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()>;
    /// Returns whether it [releases](Sink::releases) rows.
    fn releases(&self) -> bool {
        false
    }
    /// Lets readers have the final rows that were staged so far.
    fn release(&mut self) -> Result<()> {
        Ok(())
    }
    /// Returns whether nothing is staged or released and no open rows of this run would go.
    fn is_empty(&self) -> bool;
    /// Publishes what is staged: its rows, what they replace and the mark become visible together or not at all; where a server
    /// cannot do that (Cassandra), rows first and the mark at last. Told again after an outcome that is unknown it does it once.
    fn publish(&mut self, commit: &Commit) -> Result<()>;
    /// Forgets what is staged.
    fn forget(&mut self);
    /// Returns whether rows that are there can be replaced.
    fn can_replace(&self) -> bool {
        true
    }
    /// Returns where the rows are, for people.
    fn describe(&self) -> String;
}

/// A sink that publishes each epoch once.
pub(super) struct Once<P> {
    place: P,
    /// The job that runs, if it goes on from checkpoints.
    job: Option<String>,
    /// The last epoch that this run, or the one it continues, has published.
    published: Option<u64>,
    /// What the first commit still has to replace.
    first: Option<Replace>,
    range: Option<WindowRange>,
    /// What the run has said of its rows, or those have that it goes on from.
    settled: Option<i64>,
    /// The job whose rows are replaced without taking the place.
    beside: Option<String>,
}

impl<P: Place> Once<P> {
    /// Makes a sink of a place.
    pub(super) fn new(place: P, context: &Context) -> Self {
        let job = context.job.clone();
        Self { place, job, published: None, first: None, range: None, settled: None, beside: None }
    }

    /// Replaces what both this run and the stream beside it have settled of the range.
    fn commit_beside(&mut self, epoch: u64, job: String) -> Result<()> {
        let (range, settled) = (self.range.expect("a run beside a stream has a range"), self.settled);
        if let (Some(settled), Some(first)) = (settled, self.first.take()) {
            let to = range.to.map_or(settled, |to| to.min(settled));
            if range.from.is_none_or(|from| from < to) {
                let range = WindowRange { to: Some(to), ..range };
                let first = match first {
                    Replace::Range(from, _) => Some(Replace::Range(from, Some(to))),
                    other => Some(other),
                };
                self.place.publish(&Commit { epoch, first, range: Some(range), mark: None, beside: Some(job) })?;
            }
        }
        self.place.forget();
        Ok(())
    }
}

impl<P: Place> Sink for Once<P> {
    fn published(&mut self) -> Result<Published> {
        Ok(match self.place.held()? {
            Held::Unknown => Published::Unknown,
            Held::Nothing => Published::Nothing,
            Held::Rows(mark) if self.job.is_some() && mark.job == self.job => Published::Epoch(mark.epoch),
            Held::Rows(_) if self.place.can_replace() => Published::Nothing,
            Held::Rows(_) => Published::Taken,
        })
    }

    fn beside(&mut self) -> Result<Beside> {
        let Held::Rows(Mark { job: Some(job), settled, .. }) = self.place.seen()? else { return Ok(Beside::Nobody) };
        if !self.place.is_shared() {
            let message = format!(
                "{} holds rows of a stream, and no range of them can be replaced beside it",
                self.place.describe()
            );
            return Err(Error::new(Code::Unsupported, message).help(
                "a stream and runs over ranges share folders of files and tables of PostgreSQL; a run without --from and --to replaces all rows, and --out DIR writes the range elsewhere",
            ));
        }
        self.beside = Some(job.clone());
        Ok(Beside::Stream { job, settled })
    }

    fn begin(&mut self, replace: Replace) -> Result<()> {
        let held = match &self.beside {
            Some(_) => self.place.begin_beside().map(|()| Held::Unknown)?,
            None => self.place.begin(replace)?,
        };
        (self.published, self.settled) = match held {
            Held::Rows(mark) if replace == Replace::Nothing && mark.job == self.job => (Some(mark.epoch), mark.settled),
            Held::Rows(_) | Held::Nothing | Held::Unknown => (None, None),
        };
        self.range = match replace {
            Replace::Range(from, to) => Some(WindowRange { from, to }),
            Replace::All | Replace::Nothing => None,
        };
        self.first = self.place.can_replace().then_some(replace);
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch) -> Result<()> {
        self.place.stage(rows, false)
    }

    fn stage_open(&mut self, rows: &RecordBatch) -> Result<()> {
        self.place.stage(rows, true)
    }

    fn releases(&self) -> bool {
        self.place.releases()
    }

    fn release(&mut self) -> Result<()> {
        self.place.release()
    }

    fn settle(&mut self, before: i64) {
        self.settled = Some(before);
    }

    fn commit(&mut self, epoch: u64) -> Result<()> {
        if let Some(job) = self.beside.clone() {
            return self.commit_beside(epoch, job);
        }
        let is_published = self.published.is_some_and(|published| epoch <= published);
        // Where there is nothing to publish, the mark need not know the epoch: told again, it is empty again.
        if !is_published && (self.first.is_some() || !self.place.is_empty()) {
            let settled = self.settled.filter(|_| self.job.is_some());
            let mark = self.range.is_none().then(|| Mark { job: self.job.clone(), epoch, settled });
            self.place.publish(&Commit { epoch, first: self.first, range: self.range, mark, beside: None })?;
            (self.first, self.published) = (None, Some(epoch));
        }
        self.place.forget();
        Ok(())
    }

    fn describe(&self) -> String {
        self.place.describe()
    }
}

/// What has happened where a commit did not find the place as this process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The commit came through; its answer was lost.
    Done,
    /// This process may write, and the commit has not come through.
    NotDone,
    /// Another process has taken the place.
    Overtaken,
    /// Nobody has it: what was there is gone.
    Gone,
}

/// Says what has happened, of the owner and the last commit that were found and those that this one would leave.
pub(super) fn judge<N: PartialEq>(owner: &str, next: &N, found: Option<(&str, &N)>) -> Found {
    match found {
        None => Found::Gone,
        Some((found, _)) if found != owner => Found::Overtaken,
        Some((_, last)) if last == next => Found::Done,
        Some(_) => Found::NotDone,
    }
}

/// This process's word for a place that several can reach, and how many commits it knows of there.
pub(super) struct Turn {
    /// What tells this process from others.
    pub(super) owner: String,
    /// Whether the place had this word in it before `begin`.
    pub(super) is_taken: bool,
    /// Commits that the place counts.
    pub(super) commits: u64,
}

impl Turn {
    /// Makes a word.
    pub(super) fn new() -> Self {
        Self { owner: token(), is_taken: false, commits: 0 }
    }

    /// Says what has happened where a commit after `commits` did not find word and count.
    pub(super) fn judge(&self, found: Option<(&str, u64)>) -> Found {
        judge(&self.owner, &(self.commits + 1), found.as_ref().map(|(owner, commits)| (*owner, commits)))
    }
}

impl Turn {
    /// Explains why a table's row of epochs is not as this process knows it; all is well if its commit has come to be.
    pub(super) fn must_be_done(&self, table: &str, epochs: &str, found: Option<(&str, u64)>) -> Result<()> {
        let message = match self.judge(found) {
            Found::Done => return Ok(()),
            Found::Overtaken => return Err(overtaken(&format!("the table {table}"))),
            Found::NotDone => format!("the table {table} was set back: commits that it had acknowledged are gone"),
            Found::Gone => format!("{epochs} knows the table {table} no longer: somebody has removed its row"),
        };
        Err(Error::new(Code::SinkDiverged, message)
            .help("start again: what is missing is published from the checkpoints if they still hold it; `--fresh` starts the log again and replaces what the sink holds"))
    }
}

/// The error of a run over a range beside a stream that goes on no longer, since another one has replaced its rows.
pub(super) fn begun_anew(place: &str) -> Error {
    Error::new(Code::StateBusy, format!("the rows of {place} were begun anew while this run went on"))
        .help("run it again: nothing of the range was replaced")
}

/// The error of a run that another one has overtaken.
pub(super) fn overtaken(place: &str) -> Error {
    Error::new(Code::StateBusy, format!("another run has taken over {place}"))
        .help("only the newest may write: this one stops, and has published nothing since")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a place holds: rows of its own, and their mark.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Stored {
        rows: Vec<u64>,
        mark: Option<Mark>,
    }

    /// The least that a place can be; it knows nothing of epochs.
    struct Shelf {
        stored: Arc<Mutex<Stored>>,
        staged: u64,
        can_replace: bool,
    }

    impl Place for Shelf {
        fn held(&mut self) -> Result<Held> {
            Ok(self.stored.lock().unwrap().mark.clone().map_or(Held::Nothing, Held::Rows))
        }
        fn begin(&mut self, _: Replace) -> Result<Held> {
            self.held()
        }
        fn seen(&mut self) -> Result<Held> {
            self.held()
        }
        fn stage(&mut self, rows: &RecordBatch, _: bool) -> Result<()> {
            self.staged += rows.num_rows() as u64;
            Ok(())
        }
        fn is_empty(&self) -> bool {
            self.staged == 0
        }
        fn publish(&mut self, commit: &Commit) -> Result<()> {
            let mut stored = self.stored.lock().unwrap();
            if commit.first == Some(Replace::All) {
                stored.rows.clear();
            }
            stored.rows.push(self.staged);
            stored.mark = commit.mark.clone().or(stored.mark.take());
            Ok(())
        }
        fn forget(&mut self) {
            self.staged = 0;
        }
        fn can_replace(&self) -> bool {
            self.can_replace
        }
        fn describe(&self) -> String {
            "a shelf".into()
        }
    }

    fn open(stored: &Arc<Mutex<Stored>>, job: Option<&str>, can_replace: bool) -> Once<Shelf> {
        let context = Context { job: job.map(String::from), ..Context::default() };
        Once::new(Shelf { stored: stored.clone(), staged: 0, can_replace }, &context)
    }

    fn give(sink: &mut impl Sink, rows: usize, epoch: u64) {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        sink.stage(&RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap()).unwrap();
        sink.commit(epoch).unwrap();
    }

    fn rows(stored: &Arc<Mutex<Stored>>) -> Vec<u64> {
        stored.lock().unwrap().rows.clone()
    }

    #[test]
    fn a_place_that_knows_nothing_of_epochs_holds_each_once() {
        let stored = Arc::default();
        let mut sink = open(&stored, Some("j"), true);
        assert_eq!(sink.published().unwrap(), Published::Nothing);
        sink.begin(Replace::All).unwrap();
        give(&mut sink, 5, 1);
        give(&mut sink, 0, 2);
        give(&mut sink, 6, 3);
        give(&mut sink, 6, 3);
        assert_eq!(rows(&stored), [5, 6], "nothing of an empty epoch, and none twice");
        let mut next = open(&stored, Some("j"), true);
        assert_eq!(next.published().unwrap(), Published::Epoch(3));
        next.begin(Replace::Nothing).unwrap();
        (1..=4).for_each(|epoch| give(&mut next, epoch as usize + 4, epoch));
        assert_eq!(rows(&stored), [5, 6, 8], "told all of them again, it publishes the one that it lacked");
    }

    #[test]
    fn the_mark_of_another_job_is_not_taken_for_its_own() {
        let stored = Arc::default();
        let mut sink = open(&stored, Some("j"), true);
        sink.begin(Replace::All).unwrap();
        give(&mut sink, 5, 7);
        for (job, can_replace, expected) in [
            (Some("other"), true, Published::Nothing),
            (None, true, Published::Nothing),
            (Some("other"), false, Published::Taken),
            (Some("j"), false, Published::Epoch(7)),
        ] {
            assert_eq!(open(&stored, job, can_replace).published().unwrap(), expected, "{job:?}");
        }
        let mut other = open(&stored, Some("other"), true);
        other.begin(Replace::All).unwrap();
        give(&mut other, 1, 1);
        assert_eq!(rows(&stored), [1], "its first epoch is published, small as it is");
    }

    #[test]
    fn a_range_leaves_the_mark_of_the_run_whose_rows_it_replaces() {
        let stored = Arc::default();
        let mut sink = open(&stored, Some("j"), true);
        sink.begin(Replace::All).unwrap();
        give(&mut sink, 5, 7);
        let mut range = open(&stored, None, true);
        range.begin(Replace::Range(Some(0), None)).unwrap();
        give(&mut range, 2, 1);
        assert_eq!(stored.lock().unwrap().mark, Some(Mark { job: Some("j".into()), epoch: 7, settled: None }));
        assert_eq!(rows(&stored), [5, 2]);
    }

    #[test]
    fn a_stream_s_rows_are_no_range_where_two_cannot_write() {
        let stored = Arc::default();
        let mut sink = open(&stored, Some("j"), true);
        sink.begin(Replace::All).unwrap();
        assert_eq!(open(&stored, None, true).beside().unwrap(), Beside::Nobody, "nothing is there yet");
        give(&mut sink, 5, 7);
        let error = open(&stored, None, true).beside().unwrap_err();
        assert_eq!(error.code, Code::Unsupported);
        assert!(error.to_string().contains("a shelf holds rows of a stream"), "{error}");
        let mut batch = open(&stored, None, true);
        batch.begin(Replace::All).unwrap();
        give(&mut batch, 1, 1);
        assert_eq!(open(&stored, None, true).beside().unwrap(), Beside::Nobody, "now they are nobody's");
    }

    #[test]
    fn the_first_commit_replaces_even_without_rows_where_that_is_possible() {
        for (can_replace, expected) in [(true, vec![0]), (false, vec![9])] {
            let stored = Arc::new(Mutex::new(Stored { rows: vec![9], mark: None }));
            let mut sink = open(&stored, Some("j"), can_replace);
            sink.begin(Replace::All).unwrap();
            sink.commit(1).unwrap();
            assert_eq!(rows(&stored), expected);
        }
    }

    #[test]
    fn an_owner_knows_a_lost_answer_from_being_overtaken() {
        let turn = Turn { owner: "me".into(), is_taken: true, commits: 4 };
        assert_eq!(turn.judge(Some(("me", 5))), Found::Done);
        assert_eq!(turn.judge(Some(("me", 3))), Found::NotDone, "the place was set back");
        assert_eq!(turn.judge(Some(("you", 5))), Found::Overtaken);
        assert_eq!(turn.judge(None), Found::Gone);
    }
}
