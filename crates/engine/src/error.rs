//! The one error type that crosses crate borders, and the one table of error codes.
//!
//! An error is the user's mistake (message, place, help), the world's failure (retry), or bad data. Which of these it is
//! follows from its code, and so does the process's exit code. Our own bugs are panics, never an `Error`.

use std::fmt;

/// What a process ends with, by kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The question was answered "no": results differ, a limit tripped. Not to be retried.
    No = 1,
    /// Usage, configuration or the pipeline file is wrong. Not to be retried.
    Usage = 2,
    /// The data is bad: corrupt files, records over the limit, overflow. Not to be retried.
    Data = 3,
    /// The environment failed: broker, disk, network. To be retried.
    Environment = 4,
    /// The state folder belongs to another definition, is locked or unreadable. Not to be retried.
    State = 5,
    /// A signal ended it before it was done; nothing was published.
    Stopped = 130,
}

macro_rules! codes {
    ($($variant:ident, $name:literal, $exit:ident, $explain:literal;)*) => {
        /// A stable word for one way to fail. The set is closed; `CODES` lists it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $explain] $variant,)* }

        /// Every code, in the order of the table.
        pub const CODES: &[Code] = &[$(Code::$variant,)*];

        impl Code {
            /// Returns the word that is printed, such as `E_CUT`.
            pub fn name(self) -> &'static str { match self { $(Code::$variant => $name,)* } }
            /// Returns the exit code class of this failure.
            pub fn exit(self) -> Exit { match self { $(Code::$variant => Exit::$exit,)* } }
            /// Returns one sentence on what the code means and what to do.
            pub fn explain(self) -> &'static str { match self { $(Code::$variant => $explain,)* } }
        }
    };
}

codes! {
    // The pipeline file.
    Yaml, "E_YAML", Usage, "The file is not the YAML 1.2 subset that a pipeline may use";
    Field, "E_FIELD", Usage, "A field is unknown, missing, twice there or has the wrong shape";
    NotBuilt, "E_NOT_BUILT", Usage, "The field is part of the format but this version does not build it yet; it is refused, never ignored";
    Version, "E_VERSION", Usage, "The file's `version:` is not one this program reads";
    Name, "E_NAME", Usage, "A name is not allowed, used twice, or refers to nothing";
    Unbounded, "E_UNBOUNDED", Usage, "A join has no bound in event time, so it would have to keep every row for ever";
    Cycle, "E_CYCLE", Usage, "Steps read each other in a circle";
    Variable, "E_VARIABLE", Usage, "A `${NAME}` is not declared under `vars:` or has no value";
    Type, "E_TYPE", Usage, "An expression or a field has a type that does not fit there";
    Expression, "E_EXPRESSION", Usage, "An SQL expression cannot be read or uses something that is not there";
    Nondeterministic, "E_NONDETERMINISTIC_FN", Usage, "A function reads the clock, chance or the environment: its result would not be a function of the log";
    GuardNeedsTimestamp, "E_GUARD_NEEDS_TS", Usage, "`max_future` and `_timestamp` need the log's own time, which this layout does not have";
    Binding, "E_BINDING", Usage, "The source has no binding for this mode";
    // The command line.
    Usage, "E_USAGE", Usage, "The command line is wrong";
    Empty, "E_EMPTY", Usage, "The selection or range matches nothing";
    NotFound, "E_NOT_FOUND", Usage, "A file, folder, topic or pipeline is not there";
    Target, "E_TARGET", Usage, "The target holds records already, or would delete what is written to it";
    Unsupported, "E_UNSUPPORTED", Usage, "A kind of storage or option that this version does not support";
    Cut, "E_CUT", Usage, "Start or end offsets do not fit the log";
    Origin, "E_ORIGIN", Usage, "The log begins later than the one that the sinks' results were made of, so a run would replace what it cannot give again";
    NotComparable, "E_NOT_COMPARABLE", Usage, "The two sides do not have the same definition, start or partitions, so their digests say nothing";
    OpenBind, "E_OPEN_BIND", Usage, "An address that other machines reach would be served without a token";
    // Answers.
    Late, "E_LATE", No, "More records were late than the pipeline or the command line allows";
    // Data.
    BadRecord, "E_BAD_RECORD", Data, "A record cannot be decoded or breaks the schema, and the pipeline says `on_bad_record: fail` or a limit was passed";
    Check, "E_CHECK", Data, "A row breaks a rule of `check` that says `else: fail`";
    Overflow, "E_OVERFLOW", Data, "A result does not fit its type";
    Schema, "E_SCHEMA", Data, "Stored data does not have the schema that the pipeline says";
    LakeGap, "E_LAKE_GAP", Data, "A lake file does not end where the next begins";
    LakeDiverges, "E_LAKE_DIVERGES", Data, "A lake holds an offset twice or out of order";
    Corrupt, "E_CORRUPT", Data, "A file is damaged";
    Stats, "E_STATS", Data, "Statistics of a file contradict its contents";
    Gap, "E_GAP", Data, "The log no longer holds records that the run needs";
    Compacted, "E_COMPACTED", Data, "The topic deletes old values of a key, so that reading it again gives other records: it is no log of events";
    NoOffsets, "E_NO_OFFSETS", Data, "A lake without offsets cannot be read as a log";
    // The world.
    Broker, "E_BROKER", Environment, "The broker cannot be reached, refused us or failed";
    Database, "E_DATABASE", Environment, "The database of a sink cannot be reached, refused us or failed";
    Io, "E_IO", Environment, "Reading or writing a file failed";
    Disk, "E_DISK", Environment, "The disk is full, or what a quota or limit allows of it is used up";
    Memory, "E_MEMORY", Environment, "What a run must hold at once does not fit into `--memory`; with more it goes on to the same result";
    PartitionsChanged, "E_PARTITIONS_CHANGED", State, "The topic's partitions are not the ones the run started with";
    Stopped, "E_STOPPED", Stopped, "A signal ended a batch run before it was done; its sinks hold what they held before";
    LogReplaced, "E_TOPIC_ID", State, "The log is not the one that the checkpoint was made of: another topic or journal, one that was made anew under its name, or one that ends before the offset that was read up to";
    LogRewritten, "E_LOG_REWRITTEN", State, "The log holds another record at an offset that was read than the one that was read there";
    // State.
    StateBusy, "E_STATE_BUSY", State, "Another run holds the state folder or a sink";
    StateForeign, "E_STATE_FOREIGN", State, "The state was made by another definition of the pipeline";
    SinkDiverged, "E_SINK_DIVERGED", State, "A sink does not hold what this job has published, so going on would leave rows out or give them twice";
    StateVersion, "E_STATE_VERSION", State, "A file was written by a version this program does not read";
}

/// A failure with its code, what happened to what, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What happened, to what; no trailing full stop.
    pub message: String,
    /// What it consists of, a line each, if there is more to say.
    pub details: Vec<String>,
    /// What to do about it, if there is something to say.
    pub help: Option<String>,
    /// Where in a text file, if the cause is a text the user wrote.
    pub place: Option<Box<Place>>,
}

/// A stretch of a text that a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// The whole text, so that a report can show the lines.
    pub text: std::sync::Arc<str>,
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset past the last byte.
    pub end: usize,
    /// A short remark at that stretch, such as "not a field of `tumbling`".
    pub label: String,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error from its code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), help: None, place: None }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what it consists of.
    pub fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Puts what was being done in front of the message.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Makes the error of a failed file operation; a full disk has its own code, and a quota or limit that is used up is no
    /// other to who waits for it.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Code::Disk,
            _ => Code::Io,
        };
        let failed = Self::new(code, format!("{what}: {error}"));
        if code == Code::Disk {
            failed.help("make room and run it again: what was committed before is kept")
        } else {
            failed
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code.name(), self.message)?;
        self.details.iter().try_for_each(|detail| write!(f, "\n    {detail}"))?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
