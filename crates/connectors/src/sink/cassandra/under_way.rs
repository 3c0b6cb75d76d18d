//! Statements under way: so many at once, and no more than so many bytes of them.

use std::future::Future;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Statements under way at once.
const STATEMENTS: usize = 128;

/// Bytes of their values; the driver has each twice more while it sends it. One statement may always go, however large.
const BYTES: usize = 64 << 20;

/// Statements that were begun and have not come to their end, and how many bytes they have.
pub(super) struct UnderWay<'a, E> {
    runtime: &'a Runtime,
    statements: JoinSet<(usize, Result<(), E>)>,
    bytes: usize,
}

impl<'a, E: Send + 'static> UnderWay<'a, E> {
    /// Begins with none, on this runtime.
    pub(super) fn new(runtime: &'a Runtime) -> Self {
        Self { runtime, statements: JoinSet::new(), bytes: 0 }
    }

    /// Begins one of so many bytes; waits while there is no room for it.
    pub(super) fn begin(
        &mut self,
        bytes: usize,
        one: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), E> {
        while !self.has_room(bytes) {
            self.one()?;
        }
        self.bytes += bytes;
        self.statements.spawn_on(async move { (bytes, one.await) }, self.runtime.handle());
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        let count = self.statements.len();
        count == 0 || (count < STATEMENTS && self.bytes.saturating_add(bytes) <= BYTES)
    }

    fn one(&mut self) -> Result<(), E> {
        let Some(done) = self.runtime.block_on(self.statements.join_next()) else { return Ok(()) };
        let (bytes, result) = done.expect("a statement neither panics nor is ended from outside");
        self.bytes -= bytes;
        result
    }

    /// Waits for all of them.
    pub(super) fn finish(mut self) -> Result<(), E> {
        while !self.statements.is_empty() {
            self.one()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1 << 20;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Begins statements of these sizes, and returns how many and how many bytes there were at most between the begin and the
    /// end of any. None ends before so many have begun, nor at once: more of them could follow if they were let.
    fn most(sizes: &[usize], together: usize) -> (usize, usize) {
        let runtime = runtime();
        let begun = Arc::new(AtomicUsize::new(0));
        let now_and_most = Arc::new(Mutex::new([(0, 0); 2]));
        let mut under_way = UnderWay::<()>::new(&runtime);
        for size in sizes.iter().copied() {
            let (begun, known) = (begun.clone(), now_and_most.clone());
            let one = async move {
                {
                    let [now, most] = &mut *known.lock().unwrap();
                    *now = (now.0 + 1, now.1 + size);
                    *most = (most.0.max(now.0), most.1.max(now.1));
                }
                begun.fetch_add(1, Ordering::Relaxed);
                for _ in 0..10_000 {
                    if begun.load(Ordering::Relaxed) >= together {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
                let [now, _] = &mut *known.lock().unwrap();
                *now = (now.0 - 1, now.1 - size);
                Ok(())
            };
            under_way.begin(size, one).unwrap();
        }
        under_way.finish().unwrap();
        let [now, most] = *now_and_most.lock().unwrap();
        assert_eq!(now, (0, 0), "all have come to their end");
        most
    }

    #[test]
    fn statements_are_bounded_by_number_and_by_bytes() {
        // As many as there may be, and not one more.
        assert_eq!(most(&[1; 300], 128), (128, 128));
        // Six of ten MiB have room, a seventh would make 70.
        assert_eq!(most(&[10 * MIB; 20], 6), (6, 60 * MIB));
        // The bound itself may be reached.
        assert_eq!(most(&[16 * MIB; 12], 4), (4, 64 * MIB));
    }

    #[test]
    fn one_that_is_too_large_goes_alone() {
        assert_eq!(most(&[100 * MIB; 3], 1), (1, 100 * MIB));
        assert_eq!(most(&[MIB, MIB, 100 * MIB, MIB], 2), (2, 100 * MIB), "only the first two go together");
        assert_eq!(most(&[usize::MAX], 1), (1, usize::MAX));
        assert_eq!(most(&[MIB, usize::MAX, MIB], 1), (1, usize::MAX), "no sum overflows");
    }

    #[test]
    fn what_went_wrong_is_said_and_its_bytes_are_free_again() {
        let runtime = runtime();
        let mut under_way = UnderWay::new(&runtime);
        under_way.begin(64 * MIB, async { Err("refused") }).unwrap();
        assert_eq!(under_way.begin(1, async { Ok(()) }), Err("refused"), "it waits for room, and hears of the other");
        let ends = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let ends = ends.clone();
            let one = async move {
                ends.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            under_way.begin(64 * MIB, one).unwrap();
        }
        assert_eq!(under_way.finish(), Ok(()));
        assert_eq!(ends.load(Ordering::Relaxed), 2);
        let mut under_way = UnderWay::new(&runtime);
        under_way.begin(1, async { Err("refused") }).unwrap();
        assert_eq!(under_way.finish(), Err("refused"));
    }
}
