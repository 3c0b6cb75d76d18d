//! The keys of the open rows that stand in a table: a commit writes these rows, and the next one takes them away.
//!
//! There may be as many as groups of open windows, so beyond a size they wait in a file.

use engine::Result;

use crate::sink::spool::Spool;

/// Keys, in the order in which they came.
#[derive(Default)]
pub(super) struct Standing(Spool);

impl Standing {
    /// Returns true when no open row stands there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a key.
    pub(super) fn push(&mut self, key: &[u8]) -> Result<()> {
        self.0.push(key, &[])
    }

    /// Hands over every key in order. May be called again.
    pub(super) fn each<E: From<engine::Error>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        each(&mut self.0, |key, _| take(key))
    }

    /// Forgets the keys that a commit has taken away, and adds those of its own open rows.
    pub(super) fn replace(&mut self, stays: impl Fn(&[u8]) -> bool, by: &mut Spool) -> Result<()> {
        let mut next = Self::default();
        self.each(|key| if stays(key) { next.push(key) } else { Ok(()) })?;
        by.each(|key, _| next.push(key))?;
        *self = next;
        Ok(())
    }
}

/// Hands over pairs until something goes wrong on the way.
pub(super) fn each<E: From<engine::Error>>(
    spool: &mut Spool,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut so_far = Ok(());
    spool.each(|key, value| {
        if so_far.is_ok() {
            so_far = take(key, value);
        }
        Ok(())
    })?;
    so_far
}

#[cfg(test)]
mod tests {
    use engine::Error;

    use super::*;
    use crate::sink::spool::MEMORY_BYTES;

    fn keys(standing: &mut Standing) -> Vec<String> {
        let mut keys = Vec::new();
        let take = |key: &[u8]| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            Ok::<_, Error>(())
        };
        standing.each(take).unwrap();
        keys
    }

    #[test]
    fn what_stays_comes_before_what_a_commit_adds() {
        let mut standing = Standing::default();
        assert!(standing.is_empty());
        ["d", "a", "c", "b"].iter().for_each(|key| standing.push(key.as_bytes()).unwrap());
        let mut by = Spool::default();
        ["z", "a"].iter().for_each(|key| by.push(key.as_bytes(), b"a row").unwrap());
        standing.replace(|key| key != b"a", &mut by).unwrap();
        for _ in 0..2 {
            assert_eq!(keys(&mut standing), ["d", "c", "b", "z", "a"]);
        }
        standing.replace(|_| false, &mut Spool::default()).unwrap();
        assert!(standing.is_empty(), "a commit without open rows leaves none");
    }

    #[test]
    fn more_keys_than_fit_wait_in_a_file() {
        // Three times what may be in memory, in keys of a kilobyte that tell their numbers.
        let count = 3 * MEMORY_BYTES / 1024;
        let key = |number: usize| format!("{number:01024}");
        let (mut standing, mut by) = (Standing::default(), Spool::default());
        (0..count).for_each(|number| standing.push(key(number).as_bytes()).unwrap());
        // A vector has up to twice the room that it needs.
        let is_bounded = |spool: &Spool| spool.in_memory() <= 2 * MEMORY_BYTES + 4096;
        assert!(is_bounded(&standing.0), "{} bytes are in memory", standing.0.in_memory());
        by.push(b"last", &[]).unwrap();
        standing.replace(|key| key.ends_with(b"7"), &mut by).unwrap();
        let left = (0..count).filter(|number| number % 10 == 7).map(key).chain(["last".to_string()]);
        assert!(keys(&mut standing).into_iter().eq(left));
        // A commit may leave as many as it has found.
        standing.replace(|_| false, &mut spool(count, key)).unwrap();
        assert!(is_bounded(&standing.0), "{} bytes are in memory", standing.0.in_memory());
        assert_eq!(keys(&mut standing).len(), count);
    }

    fn spool(count: usize, key: impl Fn(usize) -> String) -> Spool {
        let mut spool = Spool::default();
        (0..count).for_each(|number| spool.push(key(number).as_bytes(), &[]).unwrap());
        spool
    }
}
