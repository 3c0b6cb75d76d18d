//! Everything that is tested from outside: the commands, the documents, the whole of stream and batch.

// A test may unwrap; clippy does not see that helpers of a test binary are tests too.
#![allow(clippy::unwrap_used)]

mod architecture;
mod backfill_verb;
mod bad_worlds;
mod bootstrap;
mod broker;
mod broker_exact;
mod broker_identity;
mod broker_job;
mod broker_journal;
mod broker_proxy;
mod broker_world;
mod budget;
mod cassandra_sink;
mod cli;
mod codes;
mod compact_verb;
mod crash_points;
mod diff_verb;
mod differential;
mod docs;
mod fixture;
mod full_disk;
mod hostile;
mod hostile_http;
mod increments;
mod inspect_verb;
mod ledger_verb;
mod live;
mod meeting;
mod metrics_verb;
mod object_store;
mod paths;
mod postgres_sink;
mod redis_sink;
mod restart;
mod runs_verb;
mod schedule_verb;
mod secrets;
mod servers;
mod state_verb;
mod tables;
mod test_verb;
mod tombstones;
mod traces;
mod verbs;
mod why_joins;
mod why_verb;
