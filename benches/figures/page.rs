//! A user's newest 100, call by call: the hot user, users as they occur, users alike, filtered, and one without events.

use std::hint::black_box;
use std::time::Instant;

use usertrail::workload::{Workload, WorkloadConfig};
use usertrail::{Category, Level, Store, UserId};

use crate::arguments::Arguments;
use crate::common::{Outcome, read_five_fields, settled};
use crate::report::{Bound, Report, percentile, sorted};

/// How many different users are drawn for a figure over many of them.
const USERS_DRAWN: u32 = 20_000;

/// What is asked.
struct Question {
    name: &'static str,
    users: Vec<UserId<'static>>,
    filter: Option<(Category, Level)>,
    bound: Bound,
}

pub fn measure(
    arguments: &Arguments,
    report: &mut Report,
    store: &Store,
    config: &WorkloadConfig,
) -> Outcome<()> {
    eprintln!("asking for pages");
    settled(store)?;
    for question in questions(config) {
        let samples = ask(arguments, store, &question)?;
        report.add(format!("{}, p50", question.name), percentile(&samples.micros, 0.5), "µs", question.bound);
        report.add(format!("  {}, p99", question.name), percentile(&samples.micros, 0.99), "µs", Bound::None);
        report.add("  events a page", samples.events, "events", Bound::None);
    }
    let clock = sorted((0..arguments.calls).map(|_| micros(Instant::now(), || ())).collect());
    report.add("  two looks at the clock, in each of these, p50", percentile(&clock, 0.5), "µs", Bound::None);
    Ok(())
}

fn questions(config: &WorkloadConfig) -> Vec<Question> {
    let mut workload = Workload::new(config);
    let hot = workload.user(0);
    let uniform = (0..USERS_DRAWN)
        .map(|draw| {
            // Every rank once in a while, in no order: a step that has no factor in common with the count.
            let rank = u64::from(draw) * 48_271 % u64::from(workload.users());
            workload.user(u32::try_from(rank).unwrap_or_default())
        })
        .collect();
    let ranks: Vec<u32> = (0..USERS_DRAWN).map(|_| workload.next_rank()).collect();
    let zipf = ranks.into_iter().map(|rank| workload.user(rank)).collect();
    let unknown = (0..1_000).map(|index| workload.unknown_user(index)).collect();
    let question = |name, users, filter, bound| Question { name, users, filter, bound };
    vec![
        question("newest 100 of the hot user", vec![hot.clone()], None, Bound::AtMost(5.0)),
        question("newest 100, Zipf users", zipf, None, Bound::AtMost(8.0)),
        question("newest 100, uniform users", uniform, None, Bound::AtMost(5.0)),
        question(
            "newest 100 of the hot user, category auth and level warning",
            vec![hot],
            Some((Category::Auth, Level::Warning)),
            Bound::AtMost(8.0),
        ),
        question("a user without events", unknown, None, Bound::AtMost(0.5)),
    ]
}

struct Samples {
    micros: Vec<f64>,
    /// The mean of a page.
    events: f64,
}

fn ask(arguments: &Arguments, store: &Store, question: &Question) -> Outcome<Samples> {
    let mut events = 0;
    let mut failure = None;
    let mut call = |user: &UserId<'_>| {
        let mut query = store.user_log(user);
        if let Some((category, level)) = question.filter {
            query = query.category(category).level(level);
        }
        match query.page().map_err(Into::into).and_then(|page| read_five_fields(&page)) {
            Ok(read) => events += read,
            Err(error) => failure = Some(error),
        }
    };
    let mut users = question.users.iter().cycle();
    // Warms up: every user once, and the processor.
    for user in users.by_ref().take(question.users.len().max(2_000)) {
        call(user);
    }
    let mut samples = Vec::with_capacity(usize::try_from(arguments.calls)?);
    for user in users.take(usize::try_from(arguments.calls)?) {
        samples.push(micros(Instant::now(), || call(black_box(user))));
    }
    let calls = samples.len() + question.users.len().max(2_000);
    if let Some(error) = failure {
        return Err(error);
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    Ok(Samples { micros: sorted(samples), events: events as f64 / calls as f64 })
}

fn micros(start: Instant, call: impl FnOnce()) -> f64 {
    call();
    start.elapsed().as_secs_f64() * 1e6
}
