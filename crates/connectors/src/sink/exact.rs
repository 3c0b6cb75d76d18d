//! A topic's epochs: each is a transaction, and its receipt says whose it is and which.
//!
//! ```text
//! {"version": 1, "owner": "…", "runs": "…", "job": "…", "epoch": 7, "rows": 41, "sha256": "…"}
//! ```
//!
//! `job` has published the rows up to `epoch`; `owner` is the process that may write now, and `runs` the job that it runs. Who
//! opens takes the transactional id and then writes a receipt with itself as owner and nothing else, its claim. So whoever
//! was there before is refused by the brokers from the first on, and from the second on knows by whom.
//!
//! After an error, a timeout or an answer that did not come, nothing is known of a transaction. Then a new producer takes the
//! id, unless another owner is found, and the receipt tells whether the transaction came through; if not, it is written again.

use std::time::{Duration, Instant};

use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::once::{Found, Held, Mark, judge};
use crate::kafka::{Failure, KafkaWriter, Transactions};
use crate::waiting::Wait;

/// The version written, and the only one read.
const VERSION: u32 = 1;

/// How long an epoch is tried again.
const PATIENCE: Duration = Duration::from_secs(60);

/// After how long without an answer it is told that the brokers are waited for.
const SILENT: Duration = Duration::from_secs(5);

/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a topic is asked whether it is still the same.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a receipt is left as it is when there are no rows: brokers forget the offsets of a group after days.
const KEEP_EVERY: Duration = Duration::from_secs(3600);

/// How many messages an epoch is, and what they hash to.
pub(super) type Sum = (u64, String);

/// What a transaction leaves in the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    version: u32,
    owner: String,
    runs: String,
    /// The job whose rows stand in the topic.
    pub(super) job: String,
    /// The last of its epochs that does.
    pub(super) epoch: u64,
    rows: u64,
    sha256: String,
}

impl Receipt {
    /// Returns what a topic with this receipt holds.
    pub(super) fn held(&self) -> Held {
        Held::Rows(Mark { job: Some(self.job.clone()), epoch: self.epoch, settled: None })
    }
}

/// The transactions of a sink.
pub(super) struct Exact {
    binding: KafkaBinding,
    transactions: Transactions,
    /// Whether the last transaction is known to have come through.
    is_sure: bool,
    owner: String,
    job: String,
    /// The topic's id when it was opened.
    topic: Option<String>,
    receipt: Receipt,
    /// What was found at opening, before this run wrote its claim.
    found: Option<Receipt>,
    looked_at: Instant,
    kept_at: Instant,
}

impl Exact {
    /// Takes the transactional id for a process that runs a job.
    pub(super) fn open(binding: &KafkaBinding, id: &str, timeout: Duration, owner: &str, job: &str) -> Result<Self> {
        let transactions = Transactions::new(binding, id, timeout)?;
        let topic = transactions.topic_id()?;
        let receipt = Receipt {
            version: VERSION,
            owner: owner.to_string(),
            runs: job.to_string(),
            job: job.to_string(),
            epoch: 0,
            rows: 0,
            sha256: String::new(),
        };
        let mut exact = Self {
            binding: binding.clone(),
            transactions,
            is_sure: false,
            owner: owner.to_string(),
            job: job.to_string(),
            topic,
            receipt,
            found: None,
            looked_at: Instant::now(),
            kept_at: Instant::now(),
        };
        // An older run that looks after its own may be in the way, for one try.
        for tries in 1.. {
            match exact.claim() {
                Ok(()) => break,
                Err(failure) if !failure.may_pass || tries == 3 => return Err(failure.error),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        Ok(exact)
    }

    fn claim(&mut self) -> Result<(), Failure> {
        self.transactions.take()?;
        let found = self.read()?;
        // A claim of this run is there if an earlier try came through unheard.
        if found.as_ref().is_none_or(|found| found.owner != self.owner) {
            self.found = found;
        }
        let mut claim = self.found.clone().unwrap_or_else(|| self.receipt.clone());
        (claim.owner, claim.runs) = (self.owner.clone(), self.job.clone());
        self.write(claim, &mut |_| Ok(None))
    }

    /// Returns the receipt that was there before this run.
    pub(super) fn found(&self) -> Option<&Receipt> {
        self.found.as_ref()
    }

    /// Returns whether the job that runs was the last to take the topic before.
    pub(super) fn ran_last(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.runs == self.job)
    }

    /// Returns the topic's id.
    pub(super) fn topic(&self) -> Option<&String> {
        self.topic.as_ref()
    }

    /// Returns whether the receipt should be written again, rows or not.
    pub(super) fn is_old(&self) -> bool {
        self.kept_at.elapsed() >= KEEP_EVERY
    }

    /// Publishes an epoch. `rows` writes its rows and returns how many they are and what they hash to; it may be called again.
    pub(super) fn commit(&mut self, epoch: u64, rows: &mut dyn FnMut(&mut KafkaWriter) -> Result<Sum>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let what = format!("topic {} at {}", self.binding.topic, self.binding.brokers);
        let wait = Wait::watched(what, PATIENCE, SILENT, Code::Broker);
        loop {
            match self.try_commit(epoch, rows) {
                Ok(()) => break,
                Err(failure) if !failure.may_pass || Instant::now() >= until => return Err(failure.error),
                Err(failure) => wait.failed(&failure.error),
            }
            std::thread::sleep(PAUSE);
        }
        wait.done(true);
        Ok(())
    }

    fn try_commit(&mut self, epoch: u64, rows: &mut dyn FnMut(&mut KafkaWriter) -> Result<Sum>) -> Result<(), Failure> {
        if !self.is_sure {
            // Asked before, so that a run which was overtaken does not take the id back; after, because only then it is true.
            self.must_own(epoch)?;
            self.transactions.take()?;
            let (last, is_done) = self.must_own(epoch)?;
            self.is_sure = true;
            if is_done {
                self.receipt = last;
                return Ok(());
            }
        }
        if self.looked_at.elapsed() >= LOOK_EVERY {
            self.must_be_same_topic()?;
        }
        let next = Receipt { job: self.job.clone(), epoch, ..self.receipt.clone() };
        self.write(next, &mut |writer| rows(writer).map(Some))
    }

    fn write(
        &mut self,
        mut receipt: Receipt,
        rows: &mut dyn FnMut(&mut KafkaWriter) -> Result<Option<Sum>>,
    ) -> Result<(), Failure> {
        self.is_sure = false;
        self.transactions.write(receipt.epoch, &mut |writer| {
            if let Some((count, sha256)) = rows(writer)? {
                (receipt.rows, receipt.sha256) = (count, sha256);
            }
            Ok(serde_json::to_string(&receipt).expect("texts and numbers are JSON"))
        })?;
        (self.is_sure, self.receipt, self.kept_at) = (true, receipt, Instant::now());
        Ok(())
    }

    fn read(&self) -> Result<Option<Receipt>, Failure> {
        let Some(text) = self.transactions.receipt()? else { return Ok(None) };
        let found = serde_json::from_str::<Receipt>(&text).ok().filter(|found| found.version == VERSION);
        found.map(Some).ok_or_else(|| {
            let message = format!(
                "topic {} at {}: the group `{}` holds an offset that this program has not written",
                self.binding.topic,
                self.binding.brokers,
                self.transactions.id()
            );
            let error = Error::new(Code::SinkDiverged, message)
                .help("give the sink a `transactional_id` that nothing else uses as its group");
            Failure { error, may_pass: false }
        })
    }

    /// Returns the last receipt, which must be of this run, and whether it is that of an epoch.
    fn must_own(&mut self, epoch: u64) -> Result<(Receipt, bool), Failure> {
        self.must_be_same_topic()?;
        let last = self.read()?;
        let position = |receipt: &Receipt| (receipt.job.clone(), receipt.epoch);
        let found = last.as_ref().map(|last| (last.owner.as_str(), position(last)));
        let found = found.as_ref().map(|(owner, position)| (*owner, position));
        match (judge(&self.owner, &(self.job.clone(), epoch), found), last) {
            (Found::Done, Some(last)) => Ok((last, true)),
            (Found::NotDone, Some(last)) => Ok((last, false)),
            (_, Some(last)) => Err(self.overtaken(&last)),
            (_, None) => Err(self.made_anew()),
        }
    }

    fn overtaken(&self, last: &Receipt) -> Failure {
        let same = if last.runs == self.job { "of the same job" } else { "of another job" };
        let message = format!(
            "topic {} at {}: another run, {same}, has taken the transactional id `{}` since; this one stops, and has published nothing after it",
            self.binding.topic,
            self.binding.brokers,
            self.transactions.id()
        );
        let error = Error::new(Code::StateBusy, message)
            .help("only one run may write a topic's rows: stop the other one, or give one of them a `transactional_id` and a topic of its own");
        Failure { error, may_pass: false }
    }

    fn must_be_same_topic(&mut self) -> Result<(), Failure> {
        let now =
            self.transactions.topic_id().map_err(|error| Failure { may_pass: error.code == Code::Broker, error })?;
        self.looked_at = Instant::now();
        if now == self.topic { Ok(()) } else { Err(self.made_anew()) }
    }

    fn made_anew(&self) -> Failure {
        Failure { error: made_anew(&self.binding), may_pass: false }
    }
}

/// Returns the error of a topic that is not the one that rows were written to.
pub(super) fn made_anew(binding: &KafkaBinding) -> Error {
    let message = format!(
        "topic {} at {} was deleted and made anew: what this job has published is gone",
        binding.topic, binding.brokers
    );
    Error::new(Code::SinkDiverged, message).help("`--fresh` starts the log again and writes all rows")
}
