//! Work on bytes that somebody else may have made: a panic in a library is their error, not our bug.

pub mod parquet;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Returns true while this thread does [`guarded`] work: a panic is about to become an error, so nothing needs to be said.
pub fn is_guarded() -> bool {
    DEPTH.get() > 0
}

/// Does work over hostile bytes; what it panics with is an error. The work must not leave half of a change behind.
///
/// It does not help against a stack that overflows or memory that is not there, so what the bytes say of depths and sizes
/// is checked first.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let inside = Inside;
    let outcome = catch_unwind(AssertUnwindSafe(work));
    drop(inside);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it makes no sense".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_is_known_to_be_one() {
        assert!(!is_guarded());
        let outcome: Result<(), String> = guarded(|| {
            assert!(is_guarded());
            panic!("three is {}", 3);
        });
        assert_eq!(outcome.unwrap_err(), "three is 3");
        assert!(!is_guarded());
        assert_eq!(guarded(|| guarded(|| Ok(1)).map(|one| (one, is_guarded()))), Ok((1, true)));
    }
}
