//! A hash map whose seed is an argument and which cannot be iterated, so that nothing in the core
//! can depend on hash order and no client can aim at its buckets.

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use std::hash::Hash;

/// A map from `K` to `V`; look-ups only.
#[derive(Clone, Debug)]
pub struct KeyedMap<K, V> {
    map: HashMap<K, V, FixedState>,
}

impl<K: Eq + Hash, V> KeyedMap<K, V> {
    /// An empty map hashing under `seed`.
    pub fn new(seed: u64) -> Self {
        KeyedMap { map: HashMap::with_hasher(FixedState::with_seed(seed)) }
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// The value under `key`, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    /// Puts `value` under `key`; the value that was there is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.map.insert(key, value)
    }

    /// Takes the value under `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    /// The value under `key`, made by `make` when absent.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.map.entry(key).or_insert_with(make)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}
