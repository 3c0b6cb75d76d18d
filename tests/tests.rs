//! tests

mod broker;
