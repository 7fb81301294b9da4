//! Who the users are: their ids, tenants, devices, addresses and sessions, each a function of the user's rank.
//!
//! Owns the derivation. Must not know events or their frequency. Nothing is stored per user, so ten million of
//! them take no memory and no cache.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ident::{UuidText, uuid_text};
use super::rng::{mix, scale, scale_skewed, upper};

/// Addresses are numbered by 22 bits: the host part of 100.64.0.0/10.
const ADDRESS_BITS: u32 = 22;
const ADDRESS_MASK: u32 = (1 << ADDRESS_BITS) - 1;

/// How long a session lasts: a shift of eight hours, which begin at another time for each user.
const SHIFT_MICROS: i64 = 8 * 3_600_000_000;

// What a hash is for goes into it, so that a user's tenant says nothing about the user's address.
const FOR_USERS: u64 = 0x7573_6572;
const FOR_USERS_LOW: u64 = 0x7573_6C6F;
const FOR_TRAITS: u64 = 0x7472_6169;
const FOR_SESSIONS: u64 = 0x7365_7373;
const FOR_ADDRESSES: u64 = 0x6164_6472;

/// The population of a workload.
#[derive(Clone, Debug)]
pub(super) struct People {
    seed: u64,
    tenants: u32,
    agents: u32,
    addresses: u32,
}

/// What stays the same about a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Person {
    traits: u64,
    pub(super) tenant: u32,
}

/// From where, and with what, somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) agent: u32,
    pub(super) address: IpAddr,
}

impl People {
    /// A population with so many tenants, user agents and addresses. Counts of 0 are taken as 1.
    pub(super) fn new(seed: u64, tenants: u32, agents: u32, addresses: u32) -> Self {
        let addresses = addresses.clamp(1, ADDRESS_MASK + 1);
        Self { seed, tenants: tenants.max(1), agents: agents.max(1), addresses }
    }

    /// The id of the user of a rank. Its last bit is 0.
    #[inline]
    pub(super) fn user_text(&self, rank: u32) -> UuidText {
        let [high, low] = self.user_bits(u64::from(rank));
        uuid_text(high, low & !1)
    }

    /// An id that looks like a user's and is none: its last bit is 1.
    pub(super) fn unknown_text(&self, index: u64) -> UuidText {
        let [high, low] = self.user_bits(index);
        uuid_text(high, low | 1)
    }

    fn user_bits(&self, index: u64) -> [u64; 2] {
        [mix(self.seed ^ FOR_USERS, index), mix(self.seed ^ FOR_USERS_LOW, index)]
    }

    /// The user of a rank.
    #[inline]
    pub(super) fn person(&self, rank: u32) -> Person {
        let traits = mix(self.seed ^ FOR_TRAITS, u64::from(rank));
        Person { traits, tenant: scale_skewed(traits, self.tenants) }
    }

    /// The session that the user has at a time: its id, and the connection, which stays the same throughout it.
    #[inline]
    pub(super) fn session(&self, person: Person, now_micros: i64) -> (UuidText, Connection) {
        let offset_micros = i64::from(upper(person.traits)) << 3;
        let shift = now_micros.saturating_add(offset_micros).div_euclid(SHIFT_MICROS);
        let id = mix(person.traits ^ FOR_SESSIONS, shift.cast_unsigned());
        (uuid_text(id, mix(id, 1)), self.connection(person, mix(id, 2)))
    }

    /// One of the user's connections: mostly the first of two devices, mostly the address at home.
    #[inline]
    pub(super) fn connection(&self, person: Person, random: u64) -> Connection {
        let habits = mix(person.traits, 1);
        let device = if random.is_multiple_of(4) { habits << 32 } else { habits };
        let place = match (random >> 8) & 15 {
            0..=11 => habits.rotate_left(16),
            12..=14 => habits.rotate_left(48),
            _ => random,
        };
        Connection {
            agent: scale_skewed(device, self.agents),
            address: self.address(scale(place, self.addresses)),
        }
    }

    /// A connection of nobody in particular.
    #[inline]
    pub(super) fn anywhere(&self, random: u64) -> Connection {
        Connection {
            agent: scale_skewed(random << 32, self.agents),
            address: self.address(scale(random, self.addresses)),
        }
    }

    /// The `index`-th address; seven in ten are IPv4. All are from ranges that are nobody's: 100.64.0.0/10
    /// (RFC 6598) and `2001:db8::/32` (RFC 3849).
    #[inline]
    fn address(&self, index: u32) -> IpAddr {
        // Multiplying by an odd number permutes the 22-bit numbers: neighbours scatter, and all differ.
        let start = upper(mix(self.seed, FOR_ADDRESSES));
        let host = index.wrapping_mul(0x9E_3779).wrapping_add(start) & ADDRESS_MASK;
        if index % 10 < 7 {
            return IpAddr::V4(Ipv4Addr::from_bits(0x6440_0000 | host));
        }
        let interface = u128::from(mix(self.seed, u64::from(index)));
        IpAddr::V6(Ipv6Addr::from_bits(0x2001_0DB8_u128 << 96 | u128::from(host) << 64 | interface))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn people() -> People {
        People::new(1, 500, 60, 50_000)
    }

    #[test]
    fn ids_differ_and_unknown_ones_are_apart() {
        let people = people();
        let known: BTreeSet<UuidText> = (0..100_000).map(|rank| people.user_text(rank)).collect();
        let unknown: BTreeSet<UuidText> = (0..100_000).map(|index| people.unknown_text(index)).collect();
        assert_eq!((known.len(), unknown.len()), (100_000, 100_000));
        assert!(known.is_disjoint(&unknown));
    }

    #[test]
    fn addresses_differ_and_are_of_both_families() {
        let people = people();
        let addresses: BTreeSet<IpAddr> = (0..50_000).map(|index| people.address(index)).collect();
        assert_eq!(addresses.len(), 50_000);
        assert_eq!(addresses.iter().filter(|address| address.is_ipv4()).count(), 35_000);
    }

    #[test]
    fn a_session_keeps_its_connection_and_ends() {
        let people = people();
        for rank in 0..100 {
            let person = people.person(rank);
            let first = people.session(person, 0);
            let shifts: BTreeSet<UuidText> =
                (0..24).map(|hour| people.session(person, hour * 3_600_000_000).0).collect();
            assert!((3..=4).contains(&shifts.len()), "{}", shifts.len());
            assert_eq!(people.session(person, 0), first);
        }
    }

    #[test]
    fn all_tenants_and_agents_occur() {
        let people = people();
        let persons = || (0..100_000).map(|rank| people.person(rank));
        assert_eq!(persons().map(|person| person.tenant).collect::<BTreeSet<_>>().len(), 500);
        let agents: BTreeSet<u32> = persons().map(|person| people.connection(person, 0).agent).collect();
        assert_eq!(agents.len(), 60);
    }

    #[test]
    fn zeros_are_taken_as_one() {
        let people = People::new(0, 0, 0, 0);
        assert_eq!(people.person(5).tenant, 0);
        assert_eq!(people.anywhere(u64::MAX).agent, 0);
        assert_eq!(people.anywhere(u64::MAX).address, people.anywhere(0).address);
    }
}
