//! Numbers for the keys of a join, and lists that stay in order.

use hashbrown::DefaultHashBuilder;

use crate::group::Groups;

/// How many keys without rows are never worth the work of forgetting them.
const SPARE_KEYS: usize = if cfg!(test) { 2 } else { 1024 };

/// The keys of rows that are held, and some that were.
#[derive(Clone, Default)]
pub(super) struct Keys {
    groups: Groups,
    /// How many were left when keys were forgotten last.
    left: usize,
}

impl Keys {
    /// Returns the number of a key, made if it is new.
    pub(super) fn number(&mut self, key: &[u8], hasher: &DefaultHashBuilder) -> u32 {
        use std::hash::BuildHasher;
        self.groups.group(hasher.hash_one(key), key)
    }

    /// Returns how many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Returns whether there may be many keys that nothing needs.
    pub(super) fn is_wasteful(&self) -> bool {
        self.len() > 2 * self.left + SPARE_KEYS
    }

    /// Forgets the keys for which `is_needed` does not hold. Returns the old numbers of the others, by new number.
    pub(super) fn keep(&mut self, is_needed: impl Fn(u32) -> bool, hasher: &DefaultHashBuilder) -> Vec<u32> {
        let old = std::mem::take(&mut self.groups);
        let kept: Vec<u32> = (0..old.len() as u32).filter(|key| is_needed(*key)).collect();
        for key in &kept {
            self.number(old.key(*key), hasher);
        }
        self.left = kept.len();
        kept
    }

    /// Returns about how many bytes it occupies.
    pub(super) fn size_bytes(&self) -> usize {
        self.groups.size_bytes()
    }
}

/// Takes ordered items into an ordered list. What comes is mostly greater than what is there.
pub(super) fn merge_by<T, K: Ord>(list: &mut Vec<T>, fresh: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) {
    let mut fresh = fresh.into_iter().peekable();
    let Some(first) = fresh.peek() else { return };
    let least = key(first);
    let begin = list.partition_point(|item| key(item) <= least);
    list.extend(fresh);
    // Two ordered runs: a stable sort merges them.
    list[begin..].sort_by_key(key);
}
