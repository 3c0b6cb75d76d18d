//! Everything that is tested from outside: the commands, the documents, the whole of stream and batch.

mod broker;
mod broker_job;
mod broker_journal;
mod cli;
mod differential;
mod docs;
mod live;
mod tables;
mod verbs;
