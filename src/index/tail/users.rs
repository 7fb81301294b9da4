//! Which slot of a tail a user has: a map that one thread adds to while others look up.
//!
//! Knows nothing of slots. Under loom a map behind a lock that loom sees.

#[cfg(not(all(test, loom)))]
mod map {
    use std::hash::{BuildHasherDefault, Hasher};

    use dashmap::DashMap;

    use crate::ids::Fingerprint;

    /// Parts of the map of users, each with a lock. Whoever lists all users holds one at a time, and an append of a new user
    /// waits for it: so many that this is some microseconds.
    const MAP_SHARDS: usize = 32;

    /// A fingerprint is uniform already: its first bytes are the hash.
    #[derive(Default)]
    struct FingerprintHasher(u64);

    impl Hasher for FingerprintHasher {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            if let Some(head) = bytes.first_chunk() {
                self.0 = u64::from_le_bytes(*head);
            }
        }

        // The length of the array, which says nothing.
        fn write_usize(&mut self, _: usize) {}
    }

    impl std::fmt::Debug for FingerprintHasher {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("FingerprintHasher")
        }
    }

    /// A user's slot, by the user's fingerprint.
    #[derive(Debug)]
    pub(crate) struct Users(DashMap<Fingerprint, u32, BuildHasherDefault<FingerprintHasher>>);

    impl Users {
        pub(crate) fn with_capacity(users: usize) -> Self {
            let hasher = BuildHasherDefault::default();
            Self(DashMap::with_capacity_and_hasher_and_shard_amount(users, hasher, MAP_SHARDS))
        }

        #[inline]
        pub(crate) fn get(&self, user: Fingerprint) -> Option<u32> {
            self.0.get(&user).map(|slot| *slot)
        }

        /// What the user had before, if anything. What was stored before is seen by whoever finds the slot.
        #[inline]
        pub(crate) fn insert(&self, user: Fingerprint, slot: u32) -> Option<u32> {
            self.0.insert(user, slot)
        }

        /// All of them, in no order.
        pub(crate) fn all(&self) -> Vec<(Fingerprint, u32)> {
            self.0.iter().map(|entry| (*entry.key(), *entry.value())).collect()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        /// About the bytes of memory that it takes.
        pub(crate) fn bytes(&self) -> usize {
            // A bucket of the map is a key, a value and a control byte; it fills at most seven of eight.
            self.0.capacity() * 8 / 7 * (size_of::<(Fingerprint, u32)>() + 1)
        }
    }
}

#[cfg(all(test, loom))]
mod map {
    use std::collections::HashMap;

    use loom::sync::RwLock;

    use crate::ids::Fingerprint;

    #[derive(Debug)]
    pub(crate) struct Users(RwLock<HashMap<Fingerprint, u32>>);

    impl Users {
        pub(crate) fn with_capacity(users: usize) -> Self {
            Self(RwLock::new(HashMap::with_capacity(users)))
        }

        pub(crate) fn get(&self, user: Fingerprint) -> Option<u32> {
            self.0.read().unwrap().get(&user).copied()
        }

        pub(crate) fn insert(&self, user: Fingerprint, slot: u32) -> Option<u32> {
            self.0.write().unwrap().insert(user, slot)
        }

        pub(crate) fn all(&self) -> Vec<(Fingerprint, u32)> {
            self.0.read().unwrap().iter().map(|(user, slot)| (*user, *slot)).collect()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.read().unwrap().len()
        }

        pub(crate) fn bytes(&self) -> usize {
            self.0.read().unwrap().capacity() * size_of::<(Fingerprint, u32)>()
        }
    }
}

pub(crate) use map::Users;
