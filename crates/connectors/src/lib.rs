//! The outside world: formats, the journal, the Parquet lake, Kafka, sinks.

pub mod disk;
pub mod format;
pub mod journal;
pub mod kafka;
pub mod lake;
pub mod points;
pub mod records;
pub mod sink;
pub mod store;
pub mod waiting;
