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
}
