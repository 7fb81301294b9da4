//! `list` beside a plain list: all filters, both orders, odd user ids, cursors carried across restarts and new writes.
//!
//! Owns the plain list, which must not share any code with the store.

use serde_json::{Map, Value, json};
use usertrail::workload::Rng;

use super::support::{Place, feed, run};

const EVENTS_A_ROUND: u32 = 1_500;
const ROUNDS: u32 = 3;
/// 2026-01-01T00:00:00Z.
const FIRST_SECOND: u32 = 1_767_225_600;

const LEVELS: [&str; 4] = ["info", "warning", "error", "suspicious"];
const CATEGORIES: [&str; 7] = ["auth", "security", "session", "account", "admin", "data", "system"];
const STATUSES: [&str; 3] = ["success", "failure", "error"];
const ACTIONS: [&str; 6] = [
    "auth.login",
    "auth.login_failed",
    "session.extended",
    "billing.card,added",
    "billing.card.ré-issued",
    r"billing.back\slash",
];
const SERVICES: [&str; 5] = ["web", "api", "a,b", " spaces ", "日本"];

/// Odd ones, each of which has tripped somebody's store.
fn users() -> Vec<String> {
    let mut users: Vec<String> = [
        "alice",
        "Alice",
        "alice ",
        " alice",
        "a b c",
        "\"quoted\"",
        "it's",
        "back\\slash",
        "new\nline",
        "carriage\rreturn",
        "tab\there",
        "../x",
        "../../../../etc/passwd",
        "/",
        ".",
        "..",
        "a/b/c",
        "con",
        "nul\0byte",
        "\0",
        "\u{1b}[31mred",
        "\u{202e}desrever",
        "🦀",
        "👩‍👩‍👧‍👦",
        "e\u{301}",
        "é",
        "ÀÉÎ",
        "日本語",
        "-",
        "--user",
        "--help",
        "-1",
        "0",
        "null",
        "true",
        "{}",
        "%00",
        "$(id)",
        "`id`",
        "*",
        "user@example.com",
        "\u{feff}bom",
        "\u{10ffff}",
    ]
    .map(str::to_owned)
    .to_vec();
    users.push("x".repeat(256));
    users.push("é".repeat(128));
    users
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.below(u32::try_from(from.len()).unwrap()) as usize]
}

/// Canonical, so that it comes back as it went in.
fn second(offset: u32) -> String {
    let (days, rest) = (offset / 86_400, offset % 86_400);
    assert!(days < 28 && FIRST_SECOND > 0);
    format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3_600, rest / 60 % 60, rest % 60)
}

fn event(rng: &mut Rng, users: &[String], number: usize) -> Map<String, Value> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    set("action", pick(rng, &ACTIONS).into());
    set("level", pick(rng, &LEVELS).into());
    set("category", pick(rng, &CATEGORIES).into());
    if rng.chance(700) {
        set("status", pick(rng, &STATUSES).into());
    }
    if rng.chance(800) {
        set("service", pick(rng, &SERVICES).into());
    }
    if rng.chance(970) {
        // A few have most of the events, so that their logs have several pages.
        let user =
            if rng.chance(400) { rng.below(3) } else { rng.below(u32::try_from(users.len()).unwrap()) };
        set("userId", users[user as usize].clone().into());
    }
    // Many happen in the same second, and not in the order in which they are told.
    set("occurredAt", second(rng.below(40) * 3_600).into());
    set("details", json!({"number": number, "padding": "p".repeat(rng.below(900) as usize)}));
    event
}

/// A filter: what the command line is told, and what passes.
#[derive(Clone, Debug, Default)]
struct Filter {
    args: Vec<String>,
    any_of: Vec<(&'static str, Vec<String>)>,
    since: Option<String>,
    until: Option<String>,
}

impl Filter {
    fn random(rng: &mut Rng) -> Self {
        let mut filter = Self::default();
        let sets: [(&str, &str, &[&str]); 5] = [
            ("--level", "level", &LEVELS),
            ("--category", "category", &CATEGORIES),
            ("--status", "status", &STATUSES),
            ("--action", "action", &ACTIONS),
            ("--service", "service", &SERVICES),
        ];
        for (option, field, all) in sets {
            if !rng.chance(350) {
                continue;
            }
            let values: Vec<&str> = (0..=rng.below(2)).map(|_| pick(rng, all)).collect();
            let escaped = |value: &&str| value.replace('\\', "\\\\").replace(',', "\\,");
            if rng.chance(500) {
                let joined: Vec<String> = values.iter().map(escaped).collect();
                filter.args.extend([option.to_owned(), joined.join(",")]);
            } else {
                for value in &values {
                    filter.args.extend([option.to_owned(), escaped(value)]);
                }
            }
            filter.any_of.push((field, values.into_iter().map(str::to_owned).collect()));
        }
        // On the hour, so that bounds fall on events.
        if rng.chance(300) {
            filter.since = Some(second(rng.below(40) * 3_600));
        }
        if rng.chance(300) {
            filter.until = Some(second(rng.below(40) * 3_600));
        }
        for (option, bound) in [("--since", &filter.since), ("--until", &filter.until)] {
            if let Some(bound) = bound {
                filter.args.extend([option.to_owned(), bound.clone()]);
            }
        }
        filter
    }

    fn passes(&self, event: &Value) -> bool {
        let at = event["occurredAt"].as_str().unwrap();
        self.any_of.iter().all(|(field, values)| {
            event.get(field).is_some_and(|value| values.iter().any(|other| value == other))
        }) && self.since.as_deref().is_none_or(|since| at >= since)
            && self.until.as_deref().is_none_or(|until| at < until)
    }
}

/// The plain list.
#[derive(Default)]
struct Plain {
    events: Vec<Map<String, Value>>,
}

impl Plain {
    /// A user's events as `list` must show them, but for what the store assigns at random.
    fn log(&self, user: &str, filter: &Filter, newest_first: bool) -> Vec<Value> {
        let own = self.events.iter().filter(|event| event.get("userId").is_some_and(|id| id == user));
        let mut log: Vec<Value> = own
            .enumerate()
            .map(|(user_sequence, event)| {
                let mut event = event.clone();
                event.insert("userSequence".to_owned(), user_sequence.into());
                event.entry("status").or_insert_with(|| "success".into());
                Value::Object(event)
            })
            .filter(|event| filter.passes(event))
            .collect();
        if newest_first {
            log.reverse();
        }
        log
    }
}

/// A walk through somebody's log that may be left and taken up again.
struct Walk {
    user: String,
    filter: Filter,
    newest_first: bool,
    seen: Vec<Value>,
    cursor: Option<String>,
    done: bool,
}

impl Walk {
    fn new(user: &str, filter: Filter, newest_first: bool) -> Self {
        Self { user: user.to_owned(), filter, newest_first, seen: Vec::new(), cursor: None, done: false }
    }

    /// One page; what it shows is compared with what is left of `expected`.
    fn step(&mut self, store: &str, limit: usize, expected: &[Value]) {
        let mut args: Vec<String> =
            ["list", "--data", store, "--json", "--limit"].map(str::to_owned).to_vec();
        args.extend([limit.to_string(), "--order".to_owned()]);
        args.push(if self.newest_first { "newest" } else { "oldest" }.to_owned());
        if self.user.contains('\0') {
            args.extend(["--user-json".to_owned(), json!(self.user).to_string()]);
        } else {
            args.extend(["--user".to_owned(), self.user.clone()]);
        }
        args.extend(self.filter.args.iter().cloned());
        if let Some(cursor) = &self.cursor {
            args.extend(["--cursor".to_owned(), cursor.clone()]);
        }
        let said = run(&args).ends_with(0);
        assert_eq!(said.stderr, "", "{args:?}");
        let page = said.json();
        let data: Vec<Value> = page["data"].as_array().unwrap().iter().map(without_assigned).collect();
        let left = &expected[self.seen.len()..];
        assert_eq!(data, left[..left.len().min(limit)], "{args:?}");
        let has_more = left.len() > limit;
        let mut pagination = json!({"limit": limit, "hasMore": has_more});
        let next = page["pagination"].get("nextCursor").cloned();
        if let Some(next) = &next {
            pagination["nextCursor"] = next.clone();
        }
        assert_eq!(page, json!({"data": page["data"], "pagination": pagination}), "{args:?}");
        assert_eq!(next.is_some(), has_more, "{args:?}");
        self.seen.extend(data);
        self.cursor = next.map(|next| next.as_str().unwrap().to_owned());
        self.done = !has_more;
    }
}

/// Checks what the store has assigned, and takes it out.
fn without_assigned(event: &Value) -> Value {
    let mut event = event.clone();
    let object = event.as_object_mut().unwrap();
    assert_eq!(object.remove("id").unwrap().as_str().unwrap().len(), 36);
    assert!(object.remove("recordedAt").unwrap().as_str().unwrap().ends_with('Z'));
    event
}

#[test]
fn every_log_is_the_plain_lists() {
    let place = Place::new();
    let store = place.store();
    run(["init", "--data", &store, "--shards", "2", "--segment-size", "1MiB"]).ends_with(0);
    let users = users();
    assert!(users.len() > 40);
    let mut rng = Rng::new(7);
    let mut plain = Plain::default();
    let mut carried: Vec<Walk> = Vec::new();
    for round in 0..ROUNDS {
        let mut input = String::new();
        for _ in 0..EVENTS_A_ROUND {
            let event = event(&mut rng, &users, plain.events.len());
            input += &serde_json::to_string(&event).unwrap();
            input.push('\n');
            plain.events.push(event);
        }
        let said = feed(["ingest", "--data", &store, "--format", "jsonl", "--json"], input.as_bytes());
        assert_eq!(said.ends_with(0).json()["accepted"], EVENTS_A_ROUND);
        // Walks that began before these writes and this restart: newest first sees nothing of them, oldest first does.
        for walk in &mut carried {
            let mut expected = plain.log(&walk.user, &walk.filter, walk.newest_first);
            if walk.newest_first {
                let first = walk.seen.first().and_then(|event| event["userSequence"].as_u64());
                expected.retain(|event| event["userSequence"].as_u64() <= first);
            }
            walk.step(&store, 3, &expected);
        }
        carried.retain(|walk| !walk.done);
        for (place, user) in users.iter().enumerate() {
            let filter = if place % 2 == 0 { Filter::default() } else { Filter::random(&mut rng) };
            let newest_first = rng.chance(500);
            let expected = plain.log(user, &filter, newest_first);
            let mut walk = Walk::new(user, filter, newest_first);
            walk.step(&store, 4, &expected);
            if !walk.done && round + 1 < ROUNDS {
                carried.push(walk);
            }
        }
    }
    let sealed = run(["stats", "--data", &store, "--json"]).ends_with(0).json()["runs"].as_u64();
    assert!(sealed > Some(0), "nothing was sealed, so runs were not tested");

    for user in &users {
        let everything = plain.log(user, &Filter::default(), true);
        assert!(!everything.is_empty());
        let mut walk = Walk::new(user, Filter::default(), true);
        while !walk.done {
            walk.step(&store, 500, &everything);
        }
        for _ in 0..5 {
            let filter = Filter::random(&mut rng);
            let newest_first = rng.chance(500);
            let expected = plain.log(user, &filter, newest_first);
            let mut walk = Walk::new(user, filter, newest_first);
            let limit = 1 + rng.below(60) as usize;
            // A walk of very many short pages shows nothing that some of them don't.
            for _ in 0..4 {
                if !walk.done {
                    walk.step(&store, limit, &expected);
                }
            }
        }
    }
    let nobody = run(["list", "--data", &store, "--user", "nobody", "--json"]).ends_with(0);
    assert_eq!(nobody.stdout, "{\"data\":[],\"pagination\":{\"limit\":100,\"hasMore\":false}}\n");
    run(["inspect", "--data", &store]).ends_with(0);
}
