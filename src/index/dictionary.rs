//! Names to small codes, for one segment: own actions and services. Knows no catalogue.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::format::keys::route_hash;

/// A growing list of names with their codes.
#[derive(Debug)]
pub(crate) struct Dictionary {
    first_code: u16,
    other_code: u16,
    names: RwLock<Names>,
}

/// XXH3 of the name: looked up at every append. The names are the application's own, and at most some thousands.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = route_hash(bytes) ^ self.0.rotate_left(1);
    }

    // The end mark of a text, which says nothing here.
    fn write_u8(&mut self, _: u8) {}
}

#[derive(Debug, Default)]
struct Names {
    codes: HashMap<Arc<str>, u16, BuildHasherDefault<NameHasher>>,
    in_order: Vec<Arc<str>>,
}

impl Dictionary {
    /// Gives out codes from `first_code` on, and `other_code` when they are used up.
    pub(crate) fn new(first_code: u16, other_code: u16) -> Self {
        Self { first_code, other_code, names: RwLock::default() }
    }

    /// The name's code; a new one if need be. The writer's alone.
    pub(crate) fn code_or_insert(&self, name: &str) -> u16 {
        if let Some(code) = self.code(name) {
            return code;
        }
        let mut names = self.names.write();
        let code = u16::try_from(names.in_order.len()).ok().and_then(|n| self.first_code.checked_add(n));
        let Some(code) = code.filter(|code| *code < self.other_code) else { return self.other_code };
        let name: Arc<str> = name.into();
        names.in_order.push(Arc::clone(&name));
        names.codes.insert(name, code);
        code
    }

    /// The name's code, if it has one.
    pub(crate) fn code(&self, name: &str) -> Option<u16> {
        self.names.read().codes.get(name).copied()
    }

    /// All names in the order of their codes.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.read().in_order.iter().map(ToString::to_string).collect()
    }

    /// About the bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.names.read();
        names.in_order.iter().map(|name| name.len() + 64).sum()
    }
}

/// How many names a [`Recent`] holds.
const RECENT_NAMES: usize = 32;

/// The codes that one thread asked for last, so that the usual names cost it no lock and no hash.
///
/// A lock taken right behind stores to memory that is far away waits for them: at every append that is a tenth of its
/// time. Belongs to one dictionary, whose codes never change once given.
#[derive(Debug)]
pub(crate) struct Recent {
    codes: [Option<(Box<str>, u16)>; RECENT_NAMES],
}

impl Default for Recent {
    fn default() -> Self {
        Self { codes: [const { None }; RECENT_NAMES] }
    }
}

impl Recent {
    /// The name's code in the dictionary; a new one if need be. The writer's alone.
    #[inline]
    pub(crate) fn code_or_insert(&mut self, dictionary: &Dictionary, name: &str) -> u16 {
        // Any function of the name will do: two names in one place only take turns.
        let bytes = name.as_bytes();
        let (first, last) =
            (bytes.first().copied().unwrap_or_default(), bytes.last().copied().unwrap_or_default());
        let place = (bytes.len() + usize::from(first) + 4 * usize::from(last)) % RECENT_NAMES;
        match &self.codes[place] {
            Some((known, code)) if **known == *name => *code,
            _ => {
                let code = dictionary.code_or_insert(name);
                self.codes[place] = Some((name.into(), code));
                code
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_run_out_into_other() {
        let dictionary = Dictionary::new(1, 4);
        assert_eq!(
            ["a", "b", "a", "c", "d", "b"].map(|name| dictionary.code_or_insert(name)),
            [1, 2, 1, 3, 4, 2]
        );
        assert_eq!((dictionary.code("c"), dictionary.code("d")), (Some(3), None));
        assert_eq!(dictionary.names(), ["a", "b", "c"]);
    }

    #[test]
    fn recent_codes_are_those_of_the_dictionary() {
        let (dictionary, mut recent) = (Dictionary::new(1, 400), Recent::default());
        let names: Vec<String> = (0..500).map(|number| format!("service-{}", number * 7919 % 500)).collect();
        // Far more names than places: every one is displaced and asked for again.
        for name in names.iter().chain(&names).chain(names.iter().rev()) {
            let code = recent.code_or_insert(&dictionary, name);
            assert_eq!(code, dictionary.code(name).unwrap_or(400), "{name}");
            assert_eq!(recent.code_or_insert(&dictionary, name), code, "{name}");
        }
        assert_eq!(dictionary.names(), names[..399]);
        assert_eq!(recent.code_or_insert(&dictionary, ""), 400);
    }

    #[test]
    fn names_are_counted_with_what_keeps_them() {
        let dictionary = Dictionary::new(1, 4);
        assert_eq!(dictionary.bytes(), 0);
        dictionary.code_or_insert("four");
        dictionary.code_or_insert("seven77");
        assert_eq!(dictionary.bytes(), 4 + 7 + 2 * 64);
    }

    #[test]
    fn a_name_that_ends_in_the_highest_byte_has_a_place() {
        let (dictionary, mut recent) = (Dictionary::new(1, 400), Recent::default());
        for length in 1..64 {
            let name = "\u{10ffff}".repeat(length);
            let code = recent.code_or_insert(&dictionary, &name);
            assert_eq!(recent.code_or_insert(&dictionary, &name), code);
        }
    }
}
