//! The integers and keys that must not be mixed up. Owns no behaviour beyond conversion.

use std::fmt;

macro_rules! integer_newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the integer.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The integer itself.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_newtype! {
    /// A shard's number, from 0 to one below the store's shard count.
    ShardId(u16)
}
integer_newtype! {
    /// A record's place in its shard's log: dense, from 0.
    Sequence(u64)
}
integer_newtype! {
    /// An event's place in its user's trail: dense, from 0; a gap would be visible.
    UserSequence(u64)
}
integer_newtype! {
    /// How often a shard has rolled back acknowledged-but-unsynced records after a power cut; from 0.
    Epoch(u32)
}

/// A user's key in every index: 128 bits of `SipHash`-2-4 under a key of the store.
///
/// Keyed, so that nobody outside can find two users that collide; 128 bits, so that chance does not either
/// (ten million users: about 1e-25).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fingerprint(pub(crate) [u8; 16]);

impl Fingerprint {
    /// The first eight bytes as a big-endian number: uniform, and in the order of the fingerprints.
    pub(crate) fn prefix(self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head)
    }

    /// The last eight bytes: independent of [`Self::prefix`], for filters.
    pub(crate) fn suffix(self) -> u64 {
        let mut tail = [0; 8];
        tail.copy_from_slice(&self.0[8..]);
        u64::from_be_bytes(tail)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:016x}{:016x})", self.prefix(), self.suffix())
    }
}
