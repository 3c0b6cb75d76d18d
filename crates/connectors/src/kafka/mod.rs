//! Kafka: a topic read as a log, a topic written to, and what must be known of a topic before either.
//!
//! librdkafka stays behind this module. Reading never uses a consumer group: positions are the caller's, offsets are
//! given by number, and one that is not there any more is an error, never a jump. `read_committed` throughout, so an
//! end is the last stable offset.

mod client;
mod native;
mod stream;
mod topic;
mod transaction;
mod writer;

pub use client::check_options;
pub use stream::KafkaStream;
pub use topic::{PartitionInfo, TopicInfo, create_topic, must_keep_all, must_not_compact, topic_id, topic_info};
pub use transaction::{Failure, Transactions};
pub use writer::{KafkaWriter, Written};

/// Returns the version of the librdkafka that is linked in.
pub fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
