//! Collects into ordered maps and sets, one item after another. The standard library's `collect` and `from` sort the items
//! first, and each type of items brings a stable sort of its own with it, 4 to 16 KB of code: all of ours together came to
//! 200 KB, a third of what this crate holds in a pod's memory. What is collected here is a few items.

use std::collections::{BTreeMap, BTreeSet};

/// A map of these entries. Of two with the same key the latter counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// The same, if there is no error among them.
///
/// # Errors
/// The first one; what comes after it is not asked for.
pub fn try_map<K: Ord, V, E>(
    entries: impl IntoIterator<Item = Result<(K, V), E>>,
) -> Result<BTreeMap<K, V>, E> {
    let mut map = BTreeMap::new();
    for entry in entries {
        let (key, value) = entry?;
        map.insert(key, value);
    }
    Ok(map)
}

/// A set of these items.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_collected_is_what_the_standard_library_collects() {
        let entries = [("b", 1), ("a", 2), ("b", 3)];
        assert_eq!(map(entries), BTreeMap::from(entries));
        assert_eq!(try_map(entries.map(Ok::<_, ()>)), Ok(BTreeMap::from(entries)));
        assert_eq!(set(["b", "a", "b"]), BTreeSet::from(["a", "b"]));
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut entries = [Ok(("a", 1)), Err("first"), Err("second"), Ok(("b", 2))].into_iter();
        assert_eq!(try_map(&mut entries), Err("first"));
        assert_eq!(entries.len(), 2);
    }
}
