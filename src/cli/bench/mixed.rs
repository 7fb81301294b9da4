//! One writer and one reader that asks for pages throughout, from an empty store on: once the writer goes as fast as it can, once
//! it is offered a load.

use std::time::Duration;

use super::{Failure, Progress, Run, number, options, read_page, remove};
use crate::Store;
use crate::workload::measure::{Asked, Paced, Together, load, load_paced, sync_disks, together};

const USERS_DRAWN: u32 = 20_000;
const LOOKS: u64 = 50;

/// How many events a second are offered: a tenth more than is promised beside a reader.
const OFFERED: u64 = 550_000;

pub(super) fn measure(run: &mut Run<'_>) -> Result<(), Failure> {
    let (told, ()) = beside_a_reader(run, "appending and reading", |run, store, progress| {
        let append = |events: &[crate::NewEvent<'static>]| {
            events.iter().try_for_each(|event| store.append(event).map(drop).map_err(Failure::from))
        };
        load(&run.pool, run.events, 1, LOOKS, append, |done| {
            progress.set(done, done);
            Ok(())
        })?;
        Ok(())
    })?;
    run.add("mixed.appends", "append, one at a time, beside a reader", told.write_rate(), "events/s");
    run.add("mixed.pages", "  pages of Zipf users at the same time", told.read_rate(), "pages/s");

    let (told, paced) = beside_a_reader(run, "appending a load and reading", |run, store, progress| {
        let append = |event: &crate::NewEvent<'static>| store.append(event).map(drop).map_err(Failure::from);
        load_paced(&run.pool, run.events, OFFERED, append, |done| {
            progress.set(done, done);
            Ok(())
        })
    })?;
    let Paced { spent, behind_max } = paced;
    let rate = super::rate(run.events, spent);
    let label = format!("append, {} events/s offered, beside a reader", crate::cli::text::grouped(OFFERED));
    run.add("mixed.paced.appends", label, rate, "events/s");
    run.add("mixed.paced.behind", "  the most that an append was late", millis(behind_max), "ms");
    run.add("mixed.paced.pages", "  pages of Zipf users at the same time", told.read_rate(), "pages/s");
    Ok(())
}

fn millis(time: Duration) -> f64 {
    number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)) / 1_000.0
}

/// Makes a store, runs the writer to its end, and reads pages of Zipf users meanwhile.
fn beside_a_reader<T>(
    run: &Run<'_>,
    phase: &'static str,
    write: impl FnOnce(&Run<'_>, &Store, &Progress) -> Result<T, Failure>,
) -> Result<(Together, T), Failure> {
    let dir = run.dir.join("mixed");
    let asked = Asked::new(&run.config, USERS_DRAWN);
    sync_disks();
    let store = options(&run.args.load).create_new(&dir)?;
    let progress = Progress::phase(phase, Some(run.events));
    let mut users = asked.zipf.iter().cycle();
    let mut outcome = None;
    let write = || {
        outcome = Some(write(run, &store, &progress)?);
        Ok::<u64, Failure>(run.events)
    };
    let read = || {
        // There is always a next one.
        if let Some(user) = users.next() {
            read_page(&store.user_log(user).page()?)?;
        }
        Ok(())
    };
    let told = together(write, read)?;
    drop(progress);
    store.close()?;
    drop(store);
    remove(&dir)?;
    let outcome = outcome.ok_or_else(|| Failure::Other("the writer said nothing".to_owned()))?;
    Ok((told, outcome))
}
