//! The filter of a user's log: what is asked, and the same in a source's codes.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::event::{Category, EventView, LeafError, Level, Status, lookup};
use crate::format::keys::route_hash;
use crate::format::posting::{ACTION_CODE_OTHER, ACTION_CODE_OWN_FIRST, SERVICE_CODE_OTHER, TagMask};
use crate::index::selection::{Kinds, Selection};
use crate::shard::view::Source;

/// The order of a user's log: that of the user sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Order {
    /// The latest event first.
    #[default]
    Newest,
    /// The first event first.
    Oldest,
}

/// What is asked of a user's log. Empty lists ask for nothing in particular.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) levels: BTreeSet<Level>,
    pub(crate) categories: BTreeSet<Category>,
    pub(crate) statuses: BTreeSet<Status>,
    pub(crate) actions: BTreeSet<String>,
    pub(crate) services: BTreeSet<String>,
    /// `occurred_at` from here on, microseconds.
    pub(crate) since: Option<i64>,
    /// `occurred_at` before here.
    pub(crate) until: Option<i64>,
}

impl Filter {
    /// A digest that two filters share only if they ask the same; part of the cursor.
    pub(crate) fn digest(&self) -> u64 {
        if self.is_empty() {
            // The usual question needs no text.
            return 0;
        }
        let mut text = Vec::new();
        let mut put = |part: &[u8]| {
            // Lengths keep neighbours apart.
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part);
        };
        put(&self.levels.iter().map(|level| level.code()).collect::<Vec<_>>());
        put(&self.categories.iter().map(|category| category.code()).collect::<Vec<_>>());
        put(&self.statuses.iter().map(|status| status.code()).collect::<Vec<_>>());
        for names in [&self.actions, &self.services] {
            put(&(names.len() as u64).to_le_bytes());
            for name in names {
                put(name.as_bytes());
            }
        }
        for bound in [self.since, self.until] {
            put(bound.map(i64::to_le_bytes).as_ref().map_or(&[], |bytes| bytes));
        }
        route_hash(&text)
    }

    /// Whether every event passes.
    pub(super) fn is_empty(&self) -> bool {
        self.levels.is_empty()
            && self.categories.is_empty()
            && self.statuses.is_empty()
            && self.actions.is_empty()
            && self.services.is_empty()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// The filter in the codes of a source. `kinds` is [`Self::kinds`], made once for all sources.
    pub(crate) fn selection(&self, source: &Source, kinds: Kinds) -> Selection {
        let actions = codes(&self.actions, |name| match lookup(name) {
            Some(entry) => Some(entry.code),
            None => own_action(source, name),
        });
        let services = codes(&self.services, |name| service(source, name));
        Selection { kinds, actions, services, since: self.since.unwrap_or(i64::MIN), until: self.until }
    }

    /// The levels, statuses and categories that pass.
    pub(crate) fn kinds(&self) -> Kinds {
        if self.levels.is_empty() && self.statuses.is_empty() && self.categories.is_empty() {
            return Kinds::ALL;
        }
        let levels = self.levels.iter().map(|level| TagMask::level(level.code()));
        let statuses = self.statuses.iter().map(|status| TagMask::status(status.code()));
        let categories = self.categories.iter().map(|category| TagMask::category(category.code()));
        let or = |all: TagMask, one: TagMask| TagMask(all.0 | one.0);
        Kinds::of(TagMask(
            levels.reduce(or).unwrap_or(TagMask::LEVELS).0
                | statuses.reduce(or).unwrap_or(TagMask::STATUSES).0
                | categories.reduce(or).unwrap_or(TagMask::CATEGORIES).0,
        ))
    }

    /// Decides by the record itself what the index could not.
    pub(crate) fn matches(&self, event: &EventView<'_>) -> Result<bool, LeafError> {
        let any = |names: &BTreeSet<String>, name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.contains(name))
        };
        let at = event.occurred_at().as_micros();
        Ok((self.levels.is_empty() || self.levels.contains(&event.level()))
            && (self.categories.is_empty() || self.categories.contains(&event.category()))
            && (self.statuses.is_empty() || self.statuses.contains(&event.status()))
            && any(&self.actions, Some(event.action()?))
            && any(&self.services, event.service()?)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until))
    }
}

fn codes(names: &BTreeSet<String>, code: impl Fn(&str) -> Option<u16>) -> Option<Vec<u16>> {
    (!names.is_empty()).then(|| names.iter().filter_map(|name| code(name)).collect())
}

fn own_action(source: &Source, name: &str) -> Option<u16> {
    match source {
        Source::Tail(tail, _) => tail.actions.code(name),
        Source::Run(run) => {
            code_of(&run.dictionaries().actions, name, ACTION_CODE_OWN_FIRST..ACTION_CODE_OTHER)
        }
    }
}

fn service(source: &Source, name: &str) -> Option<u16> {
    match source {
        Source::Tail(tail, _) => tail.services.code(name),
        Source::Run(run) => code_of(&run.dictionaries().services, name, 1..SERVICE_CODE_OTHER),
    }
}

/// A name's code; none if it isn't there, or can't have a code of its own.
fn code_of(names: &[String], name: &str, mut codes: Range<u16>) -> Option<u16> {
    codes.nth(names.iter().position(|other| other == name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, NewEvent, Service, Timestamp, encode_leaf};
    use crate::format::posting::Tags;
    use crate::index::selection::Verdict;

    fn filter(change: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Each asks for something else.
    fn different() -> Vec<Filter> {
        vec![
            Filter::default(),
            filter(|filter| filter.levels = [Level::ALL[1]].into()),
            filter(|filter| filter.levels = [Level::ALL[2]].into()),
            filter(|filter| filter.levels = [Level::ALL[1], Level::ALL[2]].into()),
            filter(|filter| filter.categories = [Category::ALL[1]].into()),
            filter(|filter| filter.statuses = [Status::ALL[1]].into()),
            filter(|filter| filter.actions = names(&["a.b"])),
            filter(|filter| filter.actions = names(&["a.b", "c"])),
            filter(|filter| filter.actions = names(&["a.bc"])),
            filter(|filter| filter.actions = names(&["a", ".bc"])),
            filter(|filter| filter.services = names(&["a.b"])),
            filter(|filter| filter.since = Some(0)),
            filter(|filter| filter.since = Some(1)),
            filter(|filter| filter.until = Some(0)),
            filter(|filter| (filter.since, filter.until) = (Some(0), Some(0))),
        ]
    }

    #[test]
    fn filters_that_ask_something_else_have_another_digest() {
        let filters = different();
        let digests: BTreeSet<u64> = filters.iter().map(Filter::digest).collect();
        assert_eq!(digests.len(), filters.len());
        assert_eq!(Filter::default().digest(), 0);
        for (place, filter) in filters.iter().enumerate() {
            assert_eq!(filter.digest(), filter.clone().digest());
            assert_eq!(filter.is_empty(), place == 0, "{filter:?}");
        }
    }

    #[test]
    fn an_event_passes_if_everything_that_is_asked_holds() {
        let event = NewEvent::builder(Action::new("own.action").unwrap())
            .level(Level::ALL[1])
            .category(Category::ALL[2])
            .status(Status::ALL[1])
            .service(Service::new("billing").unwrap())
            .occurred_at(Timestamp::from_micros(1_000_000))
            .build()
            .unwrap();
        let mut leaf = Vec::new();
        encode_leaf(&event, &mut leaf);
        let view = EventView::parse(&leaf).unwrap();
        let passes = |change: fn(&mut Filter)| filter(change).matches(&view).unwrap();
        assert!(passes(|_| ()));
        assert!(passes(|filter| filter.levels = [Level::ALL[0], Level::ALL[1]].into()));
        assert!(!passes(|filter| filter.levels = [Level::ALL[0]].into()));
        assert!(passes(|filter| filter.categories = [Category::ALL[2]].into()));
        assert!(!passes(|filter| filter.categories = [Category::ALL[0]].into()));
        assert!(passes(|filter| filter.statuses = [Status::ALL[1]].into()));
        assert!(!passes(|filter| filter.statuses = [Status::ALL[0]].into()));
        assert!(passes(|filter| filter.actions = names(&["another", "own.action"])));
        assert!(!passes(|filter| filter.actions = names(&["own"])));
        assert!(passes(|filter| filter.services = names(&["billing"])));
        assert!(!passes(|filter| filter.services = names(&["billin"])));
        assert!(passes(|filter| filter.since = Some(1_000_000)));
        assert!(!passes(|filter| filter.since = Some(1_000_001)));
        assert!(passes(|filter| filter.until = Some(1_000_001)));
        assert!(!passes(|filter| filter.until = Some(1_000_000)));
        // One thing that doesn't hold is enough.
        assert!(!passes(|filter| {
            filter.levels = [Level::ALL[1]].into();
            filter.until = Some(0);
        }));
        // Nobody's service is none of those asked for.
        let mut bare = Vec::new();
        encode_leaf(&NewEvent::builder(Action::AUTH_LOGIN).build().unwrap(), &mut bare);
        let bare = EventView::parse(&bare).unwrap();
        assert!(!filter(|filter| filter.services = names(&["billing"])).matches(&bare).unwrap());
        assert!(Filter::default().matches(&bare).unwrap());
    }

    #[test]
    fn kinds_are_those_that_are_asked_for_and_all_where_nothing_is() {
        assert_eq!(Filter::default().kinds(), Kinds::ALL);
        assert_eq!(filter(|filter| filter.since = Some(1)).kinds(), Kinds::ALL);
        for filter in &different()[1..6] {
            for level in Level::ALL {
                for category in Category::ALL {
                    for status in Status::ALL {
                        let tags = Tags::new(level.code(), category.code(), status.code(), 1, 1);
                        let expected = (filter.levels.is_empty() || filter.levels.contains(&level))
                            && (filter.categories.is_empty() || filter.categories.contains(&category))
                            && (filter.statuses.is_empty() || filter.statuses.contains(&status));
                        let selection = Selection {
                            kinds: filter.kinds(),
                            actions: None,
                            services: None,
                            since: i64::MIN,
                            until: None,
                        };
                        assert_eq!(selection.judge(tags) == Verdict::Yes, expected, "{filter:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn codes_are_counted_from_the_first() {
        let list = ["x".to_owned(), "y".to_owned()];
        assert_eq!(code_of(&list, "x", 5..99), Some(5));
        assert_eq!(code_of(&list, "y", 5..99), Some(6));
        assert_eq!(code_of(&list, "z", 5..99), None);
        // From there on are no codes of their own: the records are asked.
        assert_eq!(code_of(&list, "y", 5..6), None);
        assert_eq!(codes(&names(&[]), |_| Some(1)), None, "nothing in particular");
        assert_eq!(codes(&names(&["a", "b"]), |name| (name == "b").then_some(7)), Some(vec![7]));
        assert_eq!(codes(&names(&["a"]), |_| None), Some(vec![]), "a name that nobody has");
    }
}
