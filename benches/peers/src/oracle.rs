//! What pages must hold: the newest events of some users, taken from the workload itself. Must not know a store.

use std::collections::HashMap;

use usertrail::workload::Pool;
use usertrail::workload::measure::{Asked, distinct};
use usertrail::{Category, Level, NewEvent, UserId};

use crate::engine::{Engine, LIMIT, Outcome, Question, Row};

/// How many users of each kind are compared.
const SAMPLE: usize = 40;

type Filter = Option<(Category, Level)>;

/// The filter of the filtered figure.
pub const FILTER: (Category, Level) = (Category::Auth, Level::Warning);

/// The expected pages of some users.
pub struct Oracle {
    pages: Vec<(UserId<'static>, Filter, Vec<Row>)>,
}

impl Oracle {
    /// The newest of the first `events` of a pool's endless sequence, for the hot user, some Zipf and some uniform ones,
    /// and one without events.
    pub fn new(pool: &Pool, events: u64, asked: &Asked) -> Self {
        let kinds = [&asked.hot, &asked.zipf, &asked.uniform];
        let mut users: Vec<_> = kinds.into_iter().flat_map(|users| distinct(users, SAMPLE)).collect();
        users = distinct(&users, users.len());
        users.extend(asked.without_events.first().cloned());
        let both =
            |user: UserId<'static>| [(user.clone(), None, Vec::new()), (user, Some(FILTER), Vec::new())];
        let mut pages: Vec<(UserId<'static>, Filter, Vec<Row>)> = users.into_iter().flat_map(both).collect();
        let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, (user, ..)) in pages.iter().enumerate() {
            wanted.entry(user.as_str().to_owned()).or_default().push(at);
        }
        let mut missing = pages.len();
        let length = pool.events().len() as u64;
        for number in (0..events).rev() {
            let event = pool.event(usize::try_from(number % length).unwrap_or(0));
            let Some(user) = event.user_id() else { continue };
            for &at in wanted.get(user.as_str()).into_iter().flatten() {
                let (_, filter, rows) = &mut pages[at];
                let passes = filter.is_none_or(|filter| filter == (event.category(), event.level()));
                if passes && rows.len() < LIMIT {
                    rows.push(row(event));
                    missing -= usize::from(rows.len() == LIMIT);
                }
            }
            if missing == 0 {
                break;
            }
        }
        Self { pages }
    }

    /// Compares a store's pages with these.
    pub fn check(&self, name: &str, engine: &dyn Engine) -> Outcome<()> {
        for (user, filter, expected) in &self.pages {
            let question = Question { user, filter: *filter };
            let rows = engine.rows(question)?;
            if rows != *expected || engine.read(question)? != expected.len() {
                let what = if filter.is_some() { "filtered page" } else { "page" };
                return Err(format!(
                    "{name}: the {what} of {} has {} events that are not the {} expected ones",
                    user.as_str(),
                    rows.len(),
                    expected.len()
                )
                .into());
            }
        }
        Ok(())
    }

    /// How many pages are compared.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

fn row(event: &NewEvent<'_>) -> Row {
    Row {
        user: event.user_id().map_or(String::new(), |user| user.as_str().to_owned()),
        action: event.action().as_str().to_owned(),
        address: event.ip_address(),
        agent: event.user_agent().map(|agent| agent.as_str().to_owned()),
        occurred_at: event.occurred_at().map_or(0, |time| time.as_micros()),
    }
}
