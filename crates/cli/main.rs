//! samestream
fn main() {}
