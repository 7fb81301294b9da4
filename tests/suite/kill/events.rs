//! The events of a writer that is killed: all about them follows from who wrote them and when; and acknowledgements as bytes.

use usertrail::{Message, NewEvent, Receipt, SessionId, UserId};

/// A generator of numbers (`SplitMix64`): the same seed, the same run.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Threads of a writer, each with users of its own.
pub(super) const THREADS: u32 = 3;
const USERS_OF_A_THREAD: u64 = 4;

/// Which event: of which life, thread, and number; `first` and `length` say which atomic group it is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Key {
    pub(super) life: u32,
    pub(super) thread: u32,
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) length: u32,
}

impl Key {
    pub(super) fn single(life: u32, thread: u32, number: u64) -> Self {
        Self { life, thread, number, first: number, length: 1 }
    }

    pub(super) fn user(&self) -> String {
        user_name(self.thread, self.first % USERS_OF_A_THREAD)
    }

    pub(super) fn session(&self) -> String {
        format!("{}.{}.{}.{}.{}", self.life, self.thread, self.number, self.first, self.length)
    }

    /// Reads it back from an event's session.
    pub(super) fn parse(session: &str) -> Option<Self> {
        let parts: Vec<u64> = session.split('.').map_while(|part| part.parse().ok()).collect();
        let [life, thread, number, first, length] = parts[..] else { return None };
        let narrow = |wide: u64| u32::try_from(wide).ok();
        Some(Self { life: narrow(life)?, thread: narrow(thread)?, number, first, length: narrow(length)? })
    }

    pub(super) fn message(&self) -> String {
        let mut draw = Draw::new(u64::from(self.life) << 40 ^ u64::from(self.thread) << 32 ^ self.number);
        let length = draw.below(1_200);
        // Every byte follows from the key, and no two events are alike.
        (0..=length).map(|_| char::from(b'a' + u8::try_from(draw.below(26)).unwrap())).collect()
    }

    pub(super) fn event(&self) -> NewEvent<'static> {
        self.event_with(self.message())
    }

    pub(super) fn event_with(&self, message: String) -> NewEvent<'static> {
        let user = UserId::new(self.user()).unwrap();
        let login = NewEvent::login(user, SessionId::new(self.session()).unwrap());
        login.message(Message::new(message).unwrap()).build().unwrap()
    }
}

fn user_name(thread: u32, number: u64) -> String {
    format!("user-{thread}-{number}")
}

pub(super) fn users() -> impl Iterator<Item = String> {
    (0..THREADS).flat_map(|thread| (0..USERS_OF_A_THREAD).map(move |number| user_name(thread, number)))
}

/// That an event was stored, and where.
#[derive(Clone, Debug)]
pub(super) struct Ack {
    pub(super) key: Key,
    pub(super) user_sequence: u64,
    pub(super) sequence: u64,
    pub(super) id: u128,
}

pub(super) const ACK_BYTES: usize = 64;

impl Ack {
    pub(super) fn new(key: Key, receipt: Receipt) -> Self {
        let user_sequence = receipt.user_sequence.unwrap().get();
        Self { key, user_sequence, sequence: receipt.sequence.get(), id: receipt.id.as_u128() }
    }

    pub(super) fn encode(&self) -> [u8; ACK_BYTES] {
        let Key { life, thread, number, first, length } = self.key;
        let mut bytes = Vec::with_capacity(ACK_BYTES);
        for word in [life, thread, length, 0] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [number, first, self.user_sequence, self.sequence] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.id.to_le_bytes());
        bytes.try_into().unwrap()
    }

    pub(super) fn decode(bytes: &[u8; ACK_BYTES]) -> Self {
        let narrow = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let wide = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let [life, thread, length] = [0, 4, 8].map(narrow);
        let [number, first, user_sequence, sequence] = [16, 24, 32, 40].map(wide);
        let id = u128::from_le_bytes(bytes[48..].try_into().unwrap());
        Self { key: Key { life, thread, number, first, length }, user_sequence, sequence, id }
    }
}

#[test]
fn acknowledgements_and_keys_are_read_as_they_were_written() {
    let key = Key { life: 1, thread: 2, number: 1 << 40, first: 4, length: 5 };
    let ack = Ack { key, user_sequence: 6, sequence: 7, id: 8 << 100 };
    let read = Ack::decode(&ack.encode());
    assert_eq!((read.key, read.user_sequence, read.sequence, read.id), (key, 6, 7, 8 << 100));
    assert_eq!(Key::parse(&key.session()), Some(key));
    assert_eq!(Key::parse("1.2.3"), None);
}
