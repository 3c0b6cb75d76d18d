//! The one unsafe module: reading many records with one call of librdkafka, and asking for the id of a topic.
//!
//! rdkafka's `poll` makes an event, a reference count and a message object for each record; `rd_kafka_consume_batch_queue`
//! hands over thousands at a time, for a third of the processor time on our side. All partitions come through one queue.
//! Partitions are started one by one by number and offset, which needs no consumer group.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::time::Duration;

use engine::log::{Offset, Partition};
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::client::Notes;

/// What the queue brings.
pub(super) enum Incoming<'a> {
    /// A record.
    Record {
        /// Its partition.
        partition: Partition,
        /// Its offset.
        offset: Offset,
        /// The log's own time in milliseconds.
        timestamp: i64,
        /// Its key.
        key: Option<&'a [u8]>,
        /// Its value.
        value: Option<&'a [u8]>,
        /// Its headers.
        headers: Headers<'a>,
    },
    /// Everything below the offset was delivered.
    End(Partition, Offset),
    /// Something went wrong.
    Failed(Partition, RDKafkaErrorCode, String),
}

/// The headers of a record, read only when asked for.
pub(super) struct Headers<'a>(&'a rd::rd_kafka_message_t);

/// The queue that all started partitions of one topic come through.
pub(super) struct BatchQueue {
    consumer: BaseConsumer<Notes>,
    topic: *mut rd::rd_kafka_topic_t,
    queue: *mut rd::rd_kafka_queue_t,
    started: Vec<Partition>,
    slots: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: the three pointers are handles of librdkafka, which allows any thread to use them; they are used by whoever
// owns the queue only. `slots` holds pointers only inside `read`.
unsafe impl Send for BatchQueue {}

impl BatchQueue {
    /// Makes the queue; the topic's name must hold no zero byte.
    pub(super) fn new(consumer: BaseConsumer<Notes>, topic: &str) -> Self {
        let name = CString::new(topic).expect("a topic that the broker knows has no zero byte in its name");
        let client = consumer.client().native_ptr();
        // SAFETY: `client` lives as long as `consumer`, which this struct owns and drops after both handles are
        // destroyed. A null configuration means the client's. Neither call fails for a valid client and name.
        let (topic, queue) =
            unsafe { (rd::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()), rd::rd_kafka_queue_new(client)) };
        assert!(!topic.is_null() && !queue.is_null(), "librdkafka makes handles for a client that lives");
        Self { consumer, topic, queue, started: Vec::new(), slots: Vec::new() }
    }

    /// Returns the client.
    pub(super) fn consumer(&self) -> &BaseConsumer<Notes> {
        &self.consumer
    }

    /// Starts reading a partition at an offset that is not negative.
    pub(super) fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: both handles live; the queue is made by the same client.
        let failed = unsafe { rd::rd_kafka_consume_start_queue(self.topic, partition, offset, self.queue) } != 0;
        if failed {
            // SAFETY: reads a thread-local number.
            return Err(unsafe { rd::rd_kafka_last_error() }.into());
        }
        self.started.push(partition);
        Ok(())
    }

    /// Stops reading a partition; what was fetched of it and not handed over is dropped.
    ///
    /// Not librdkafka's pause: that resumes at a position which `rd_kafka_consume_batch_queue` moves past the offset of a
    /// partition-EOF event, as if the event were a record, so that the next record would be skipped.
    pub(super) fn stop(&mut self, partition: Partition) {
        if let Some(index) = self.started.iter().position(|started| *started == partition) {
            self.started.swap_remove(index);
            // SAFETY: the handle lives, and the partition was started and not stopped since.
            unsafe { rd::rd_kafka_consume_stop(self.topic, partition) };
        }
    }

    /// Waits until something comes, at most as long as said, then hands over what is there, at most `max`.
    pub(super) fn read(&mut self, timeout: Duration, max: usize, mut take: impl FnMut(Incoming<'_>)) -> usize {
        let max = max.max(1);
        self.slots.resize(max, ptr::null_mut());
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // One call with the whole size would wait for the whole size: the first waits for one record, the second takes
        // what is there.
        let mut count = self.fill(0, 1, millis);
        if count == 1 && max > 1 {
            count += self.fill(1, max - 1, 0);
        }
        for &slot in &self.slots[..count] {
            // SAFETY: librdkafka filled the first `count` slots with messages that are ours until destroyed, which
            // happens once, after `take` has returned and given up what it borrowed.
            unsafe {
                take(incoming(&*slot));
                rd::rd_kafka_message_destroy(slot);
            }
        }
        count
    }

    fn fill(&mut self, from: usize, size: usize, timeout_ms: i32) -> usize {
        let slots = &mut self.slots[from..from + size];
        // SAFETY: `slots` has room for `size` pointers, and the queue lives.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(self.queue, timeout_ms, slots.as_mut_ptr(), slots.len()) };
        usize::try_from(count).unwrap_or(0)
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        // SAFETY: each partition in the list was started and not stopped since; then the handles are destroyed, once, before the
        // client (a field, so dropped after this).
        unsafe {
            for &partition in &self.started {
                rd::rd_kafka_consume_stop(self.topic, partition);
            }
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// Asks for a topic's id, in base64; None: the brokers do not know ids. rdkafka has no call for it.
pub(super) fn topic_id(
    consumer: &BaseConsumer<Notes>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<String>, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as the consumer. Collection, queue and event are made here and destroyed here, once,
    // after the last use of what they hold; the call takes no options. The results' pointers are read before that.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let queue = rd::rd_kafka_queue_new(client);
        rd::rd_kafka_DescribeTopics(client, topics, ptr::null(), queue);
        rd::rd_kafka_TopicCollection_destroy(topics);
        let event = rd::rd_kafka_queue_poll(queue, millis);
        let answer = if event.is_null() { Err(RDKafkaErrorCode::OperationTimedOut) } else { id_in(event) };
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// Returns the id of the first topic in an answer.
///
/// # Safety
/// The event must live while this runs.
unsafe fn id_in(event: *mut rd::rd_kafka_event_t) -> Result<Option<String>, RDKafkaErrorCode> {
    let ok = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: the event lives; a pointer that librdkafka gives is checked before it is followed, and belongs to the event.
    unsafe {
        let code = rd::rd_kafka_event_error(event);
        if code != ok {
            return Err(code.into());
        }
        let (result, mut count) = (rd::rd_kafka_event_DescribeTopics_result(event), 0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let topic = *topics;
        let code = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic));
        if code != ok {
            return Err(code.into());
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null()
            || (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) == (0, 0)
        {
            return Ok(None);
        }
        let text = rd::rd_kafka_Uuid_base64str(id);
        Ok((!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned()))
    }
}

/// Returns what a message is.
///
/// # Safety
/// The message must come from librdkafka and live as long as the result.
unsafe fn incoming(message: &rd::rd_kafka_message_t) -> Incoming<'_> {
    match message.err {
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Incoming::Record {
            partition: message.partition,
            offset: message.offset,
            // SAFETY: the message is valid; the kind of time is not asked for.
            timestamp: unsafe { rd::rd_kafka_message_timestamp(message, ptr::null_mut()) },
            // SAFETY: pointer and length belong together in a message without error.
            key: unsafe { bytes(message.key, message.key_len) },
            // SAFETY: as above.
            value: unsafe { bytes(message.payload, message.len) },
            headers: Headers(message),
        },
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Incoming::End(message.partition, message.offset),
        code => {
            // SAFETY: the message is valid; the text, if there is one, ends with a zero and lives as long.
            let text = unsafe {
                let text = rd::rd_kafka_message_errstr(message);
                if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
            };
            Incoming::Failed(message.partition, code.into(), text)
        }
    }
}

/// Returns the bytes at a pointer; None for null.
///
/// # Safety
/// A pointer that is not null must point to `length` bytes that live as long as the result.
unsafe fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says so.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), length) })
}

impl Headers<'_> {
    /// Returns name and value of every header, in order.
    pub(super) fn to_vec(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut list = Vec::new();
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives as long as self; the headers belong to it and are only read; librdkafka says
        // `NO_ERROR` only when it has set name, value and size of the header at that index.
        unsafe {
            let ok = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            if rd::rd_kafka_message_headers(self.0, &mut headers) != ok {
                return list;
            }
            let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
            while rd::rd_kafka_header_get_all(headers, list.len(), &mut name, &mut value, &mut size) == ok {
                let text = CStr::from_ptr(name).to_string_lossy().into_owned();
                list.push((text, bytes(value.cast_mut(), size).map(<[u8]>::to_vec)));
            }
        }
        list
    }
}
