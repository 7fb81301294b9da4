//! How engines of keys and values keep an event: the key, and the value as an rkyv archive that is checked when it is read.
//!
//! Must not know an engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::with::{InlineAsBox, Map};
use rkyv::{Archive, Serialize};
use usertrail::{Category, Level, NewEvent, UserId};

use crate::engine::{Fields, Outcome};

/// What user ids of the workload are long.
const USER_BYTES: usize = 36;
/// A user id, padded to a multiple of 8 so that values behind it stay aligned where an engine packs them; then the
/// sequence, most significant byte first.
pub const KEY_BYTES: usize = 48;
pub type Key = [u8; KEY_BYTES];

/// The key of an event. Events without a user share a key space that no user has.
pub fn key(user: Option<&str>, sequence: u64) -> Outcome<Key> {
    let mut key = [0; KEY_BYTES];
    let user = user.unwrap_or("-").as_bytes();
    if user.len() > USER_BYTES {
        return Err("a user id of the workload is longer than it was".into());
    }
    key[..user.len()].copy_from_slice(user);
    key[KEY_BYTES - 8..].copy_from_slice(&sequence.to_be_bytes());
    Ok(key)
}

/// The lowest and the highest key of a user.
pub fn range(user: &UserId<'_>) -> Outcome<(Key, Key)> {
    Ok((key(Some(user.as_str()), 0)?, key(Some(user.as_str()), u64::MAX)?))
}

/// An event with all its fields.
#[derive(Archive, Serialize)]
pub struct Stored<'a> {
    occurred_at: i64,
    category: u8,
    level: u8,
    status: u8,
    /// 0, 4 or 6: how much of `address` there is.
    address_kind: u8,
    address: [u8; 16],
    #[rkyv(with = InlineAsBox)]
    action: &'a str,
    #[rkyv(with = Map<InlineAsBox>)]
    user: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    tenant: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    actor: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    service: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    resource: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    resource_id: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    session: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    request: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    agent: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    message: Option<&'a str>,
    #[rkyv(with = Map<InlineAsBox>)]
    details: Option<&'a str>,
}

/// A category and a level as the bytes that values and the second index hold.
pub fn tags((category, level): (Category, Level)) -> [u8; 2] {
    [category as u8, level as u8]
}

/// The value of an event. Its length is a multiple of 8.
pub fn encode(event: &NewEvent<'_>) -> Outcome<AlignedVec> {
    let (address_kind, address) = match event.ip_address() {
        None => (0, [0; 16]),
        Some(IpAddr::V4(address)) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            (4, bytes)
        }
        Some(IpAddr::V6(address)) => (6, address.octets()),
    };
    let [category, level] = tags((event.category(), event.level()));
    let stored = Stored {
        occurred_at: event.occurred_at().map_or(0, |time| time.as_micros()),
        category,
        level,
        status: event.status() as u8,
        address_kind,
        address,
        action: event.action().as_str(),
        user: event.user_id().map(|user| user.as_str()),
        tenant: event.tenant_id().map(|tenant| tenant.as_str()),
        actor: event.actor_id().map(|actor| actor.as_str()),
        service: event.service().map(|service| service.as_str()),
        resource: event.resource().map(|resource| resource.as_str()),
        resource_id: event.resource_id().map(|resource| resource.as_str()),
        session: event.session_id().map(|session| session.as_str()),
        request: event.request_id().map(|request| request.as_str()),
        agent: event.user_agent().map(|agent| agent.as_str()),
        message: event.message().map(|message| message.as_str()),
        details: event.details().map(|details| details.as_str()),
    };
    Ok(rkyv::to_bytes::<Error>(&stored)?)
}

/// Reads values, checked: in place where they are aligned, else from a copy.
#[derive(Default)]
pub struct Reader {
    copy: AlignedVec,
}

impl Reader {
    /// Calls `visit` with the event's fields if it passes the filter. Says whether it did.
    pub fn visit(
        &mut self,
        value: &[u8],
        filter: Option<[u8; 2]>,
        visit: impl FnOnce(Fields<'_>),
    ) -> Outcome<bool> {
        let value = if value.as_ptr().addr().is_multiple_of(align_of::<ArchivedStored<'_>>()) {
            value
        } else {
            self.copy.clear();
            self.copy.extend_from_slice(value);
            &self.copy
        };
        let stored = rkyv::access::<ArchivedStored<'_>, Error>(value)?;
        if filter.is_some_and(|filter| filter != [stored.category, stored.level]) {
            return Ok(false);
        }
        let address = match stored.address_kind {
            0 => None,
            4 => {
                let [a, b, c, d, ..] = stored.address;
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            _ => Some(IpAddr::V6(Ipv6Addr::from_octets(stored.address))),
        };
        visit(Fields {
            user: stored.user.as_ref().map_or("", |user| user),
            action: &stored.action,
            address,
            agent: stored.agent.as_ref().map(|agent| &**agent),
            occurred_at: stored.occurred_at.to_native(),
        });
        Ok(true)
    }
}
