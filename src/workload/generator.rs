//! The generator: draws who does what when, and lends the event.
//!
//! Owns the order in which random numbers are drawn, which is what a seed means. Must not know who reads or
//! stores the events.

use crate::event::{ActorId, EventError, NewEvent, RequestId, ResourceId, SessionId, TenantId};
use crate::event::{Status, Timestamp, UserAgent, UserId};

use super::alias::AliasTable;
use super::clock::Clock;
use super::config::{Distribution, WorkloadConfig};
use super::ident::{as_str, hex_text};
use super::kinds::{Kinds, agents, at, tenants};
use super::mix::{By, OF_USERS, WITHOUT_USER};
use super::own::own;
use super::people::{Connection, People};
use super::rng::{Rng, mix, scale};
use super::scratch::Scratch;

/// An endless stream of realistic events, the same for the same [`WorkloadConfig`].
///
/// Making an event takes less than 0.2 µs, most of which is the builder checking it, and allocates nothing: texts are
/// lent from pools, and from a buffer that the next event overwrites. That is also why this is not an [`Iterator`].
/// What is faster than that is better measured with a [`Pool`](super::Pool).
///
/// ```
/// use usertrail::workload::{Workload, WorkloadConfig};
///
/// let mut workload = Workload::new(&WorkloadConfig::default());
/// let event = workload.next_event();
/// assert!(event.action().as_str().contains('.'));
///
/// // The user whose trail is the longest, one of the many, and one who never had an event.
/// let (hot, other, unknown) = (workload.user(0), workload.user(90_000), workload.unknown_user(0));
/// assert!(hot != other && other != unknown);
/// ```
#[derive(Clone, Debug)]
pub struct Workload {
    rng: Rng,
    /// For reading, so that it leaves the events as they are.
    rank_rng: Rng,
    clock: Clock,
    users: u32,
    /// `None` for a uniform distribution.
    ranks: Option<AliasTable>,
    people: People,
    pools: Pools,
    without_user_per_mille: u32,
    details_per_mille: u32,
    scratch: Scratch,
}

/// What events borrow that lives as long as the workload.
#[derive(Clone, Debug)]
struct Pools {
    of_users: Kinds,
    without_user: Kinds,
    tenants: Vec<TenantId<'static>>,
    agents: Vec<UserAgent<'static>>,
}

/// What was drawn for an event. Its identifiers are in the scratch buffer.
struct Draw {
    occurred_at: Timestamp,
    /// Whose trail it stands on, by rank.
    rank: Option<u32>,
    /// The number of its kind, among those of users or among the others.
    kind: u32,
    /// What chooses among messages and details.
    random: u64,
    with_details: bool,
    tenant: Option<u32>,
    connection: Option<Connection>,
}

impl Workload {
    /// A workload that starts from the beginning. Takes some milliseconds, and tens of them with many users.
    pub fn new(config: &WorkloadConfig) -> Self {
        let users = config.users.max(1);
        // The pools have numbers of their own, so that changing a text leaves who does what as it was.
        let mut pool_rng = Rng::new(mix(config.seed, 1));
        Self {
            rng: Rng::new(config.seed),
            rank_rng: Rng::new(mix(config.seed, 2)),
            clock: Clock::new(config.start, config.mean_gap_micros),
            users,
            ranks: ranks(users, config.distribution),
            people: People::new(config.seed, config.tenants, config.user_agents, config.addresses),
            pools: own(Pools::new(config, &mut pool_rng)),
            without_user_per_mille: config.without_user_per_mille,
            details_per_mille: config.details_per_mille,
            scratch: Scratch::new(),
        }
    }

    /// Makes the next event. Its times never go backwards.
    #[inline]
    pub fn next_event(&mut self) -> NewEvent<'_> {
        let draw = self.draw();
        own(self.assemble(&draw))
    }

    /// The next `count` events, owning their texts: what a bench makes before its clock starts.
    /// About 1 KiB of memory each.
    pub fn take_owned(&mut self, count: usize) -> Vec<NewEvent<'static>> {
        (0..count).map(|_| self.next_event().into_owned()).collect()
    }

    /// The number of users.
    pub fn users(&self) -> u32 {
        self.users
    }

    /// The id of the user of a rank: 0 is the most frequent one, `users() - 1` the least. Ranks beyond that are
    /// ids in the same form that do not occur.
    pub fn user(&self, rank: u32) -> UserId<'static> {
        own(UserId::new(as_str(&self.people.user_text(rank)).to_owned()))
    }

    /// The tenant of the user of a rank.
    pub fn tenant_of_user(&self, rank: u32) -> Option<&TenantId<'static>> {
        at(&self.pools.tenants, self.people.person(rank).tenant)
    }

    /// An id in the form of a user's which no user has, whatever the seed and the number of users.
    pub fn unknown_user(&self, index: u64) -> UserId<'static> {
        own(UserId::new(as_str(&self.people.unknown_text(index)).to_owned()))
    }

    /// Draws a rank as events do: for reading users as often as they are written. The events stay as they are.
    #[inline]
    pub fn next_rank(&mut self) -> u32 {
        let random = self.rank_rng.next_u64();
        self.rank(random)
    }

    #[inline]
    fn rank(&self, random: u64) -> u32 {
        self.ranks.as_ref().map_or_else(|| scale(random, self.users), |table| table.pick(random))
    }

    /// Decides what happens, and writes the identifiers.
    #[inline]
    fn draw(&mut self) -> Draw {
        let occurred_at = self.clock.advance(self.rng.next_u64());
        let on_trail = !self.rng.chance(self.without_user_per_mille);
        let (kind_bits, rank_bits, random) = (self.rng.next_u64(), self.rng.next_u64(), self.rng.next_u64());
        let with_details = self.rng.chance(self.details_per_mille);
        self.scratch.put_request(&hex_text(self.rng.next_u64(), random));
        let kinds = self.pools.kinds(on_trail);
        let mut draw = Draw {
            occurred_at,
            rank: on_trail.then(|| self.rank(rank_bits)),
            kind: kinds.pick(kind_bits),
            random,
            with_details,
            tenant: None,
            connection: None,
        };
        let kind = kinds.get(draw.kind);
        let (by, failed) = (kind.by, kind.status == Status::Failure);
        let Some(rank) = draw.rank else {
            draw.connection = (by == By::Visitor).then(|| self.people.anywhere(random));
            return draw;
        };
        let person = self.people.person(rank);
        draw.tenant = Some(person.tenant);
        self.scratch.put_user(&self.people.user_text(rank));
        draw.connection = match by {
            By::Session => {
                let (session, connection) = self.people.session(person, occurred_at.as_micros());
                self.scratch.put_session(&session);
                Some(connection)
            }
            // A failure in four comes from where the user has never been.
            By::Visitor if failed && random & 0x30 == 0 => Some(self.people.anywhere(random)),
            By::Visitor => Some(self.people.connection(person, random)),
            By::Administrator => {
                let administrator = scale(random, ADMINISTRATORS.min(self.users));
                self.scratch.put_actor(&self.people.user_text(administrator));
                Some(self.people.connection(self.people.person(administrator), random))
            }
            By::Job => None,
        };
        draw
    }

    /// Makes the event that was drawn.
    #[inline]
    fn assemble(&self, draw: &Draw) -> Result<NewEvent<'_>, EventError> {
        let kind = self.pools.kinds(draw.rank.is_some()).get(draw.kind);
        let texts = self.scratch.texts();
        let mut builder = NewEvent::builder(kind.action.as_borrowed())
            .occurred_at(draw.occurred_at)
            .status(kind.status)
            .service(kind.service.as_borrowed())
            .request_id(RequestId::new(texts.request())?);
        if let Some(resource) = &kind.resource {
            builder = builder.resource(resource.as_borrowed());
        }
        if let Some(message) = kind.message(draw.random << 16) {
            builder = builder.message(message.as_borrowed());
        }
        if draw.with_details
            && let Some(details) = kind.details(draw.random << 8)
        {
            builder = builder.details(details.as_borrowed());
        }
        if let Some(Connection { agent, address }) = draw.connection {
            builder = builder.ip(address);
            if let Some(agent) = at(&self.pools.agents, agent) {
                builder = builder.user_agent(agent.as_borrowed());
            }
        }
        if let Some(tenant) = draw.tenant.and_then(|tenant| at(&self.pools.tenants, tenant)) {
            builder = builder.tenant(tenant.as_borrowed());
        }
        if draw.rank.is_some() {
            builder = builder.user(UserId::new(texts.user())?);
            if kind.on_user {
                builder = builder.resource_id(ResourceId::new(texts.user())?);
            }
            if kind.by == By::Session {
                builder = builder.session(SessionId::new(texts.session())?);
            }
            if kind.by == By::Administrator {
                builder = builder.actor(ActorId::new(texts.actor())?);
            }
        }
        builder.build()
    }
}

impl Pools {
    fn new(config: &WorkloadConfig, rng: &mut Rng) -> Result<Self, EventError> {
        Ok(Self {
            of_users: Kinds::new(&OF_USERS, rng)?,
            without_user: Kinds::new(&WITHOUT_USER, rng)?,
            tenants: tenants(config.tenants)?,
            agents: agents(config.user_agents)?,
        })
    }

    #[inline]
    fn kinds(&self, on_trail: bool) -> &Kinds {
        if on_trail { &self.of_users } else { &self.without_user }
    }
}

/// How many of the first users administer the others.
const ADMINISTRATORS: u32 = 200;

/// The table that ranks are drawn with.
fn ranks(users: u32, distribution: Distribution) -> Option<AliasTable> {
    let Distribution::Zipf { exponent } = distribution else { return None };
    // Division and root are exact to the last bit everywhere (IEEE 754), the power function is not.
    let weight = |rank: u32| match exponent {
        1.0 => 1.0 / f64::from(rank),
        0.5 => 1.0 / f64::from(rank).sqrt(),
        _ => f64::from(rank).powf(-exponent),
    };
    Some(AliasTable::new(&(1..=users).map(weight).collect::<Vec<f64>>()))
}
