//! The outside world: formats, the journal, the Parquet lake, Kafka, sinks.

pub mod format;
pub mod records;
pub mod store;
