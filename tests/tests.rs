//! Everything that is tested from outside: the commands, the documents, the whole of stream and batch.

mod broker;
mod broker_job;
mod cli;
mod differential;
mod live;
mod tables;
