//! User agents as browsers and applications send them.
//!
//! Owns their texts. Must not know who uses which.

/// Where the versions of a template begin, and the text before and after the version.
struct Template {
    first: u32,
    before: &'static str,
    after: &'static str,
}

/// The more frequent ones first.
const TEMPLATES: [Template; 10] = [
    Template {
        first: 136,
        before: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        after: ".0.0.0 Safari/537.36",
    },
    Template {
        first: 17,
        before: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
        after: ".5 Mobile/15E148 Safari/604.1",
    },
    Template {
        first: 136,
        before: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        after: ".0.0.0 Mobile Safari/537.36",
    },
    Template {
        first: 136,
        before: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        after: ".0.0.0 Safari/537.36",
    },
    Template {
        first: 4,
        before: "UsertrailDemo/",
        after: ".12.1 (Android 15; Pixel 8; build 40121) okhttp/4.12.0",
    },
    Template {
        first: 136,
        before: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Safari/537.36 Edg/",
        after: ".0.0.0",
    },
    Template {
        first: 130,
        before: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/",
        after: ".0",
    },
    Template {
        first: 13,
        before: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
        after: ".4 Safari/605.1.15",
    },
    Template {
        first: 130,
        before: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/",
        after: ".0",
    },
    Template {
        first: 4,
        before: "UsertrailDemo/",
        after: ".12.0 (iPhone; iOS 18.5; Scale/3.00) CFNetwork/1490",
    },
];

/// The `index`-th user agent; each index has another text.
pub(super) fn user_agent(index: u32) -> String {
    let count = u32::try_from(TEMPLATES.len()).unwrap_or(1);
    let version_step = index / count;
    let place = usize::try_from(index % count).unwrap_or(0);
    let Template { first, before, after } = &TEMPLATES[place];
    format!("{before}{}{after}", u64::from(*first) + u64::from(version_step))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_differ() {
        let texts: BTreeSet<String> = (0..1_000).map(user_agent).collect();
        assert_eq!(texts.len(), 1_000);
        assert!(!user_agent(u32::MAX).is_empty());
    }
}
