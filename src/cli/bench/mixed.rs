//! One writer at full speed and one reader that asks for pages throughout, from an empty store on.

use super::{Failure, Progress, Run, options, read_page, remove};
use crate::workload::measure::{Asked, load, sync_disks, together};

const USERS_DRAWN: u32 = 20_000;
const LOOKS: u64 = 50;

pub(super) fn measure(run: &mut Run<'_>) -> Result<(), Failure> {
    let dir = run.dir.join("mixed");
    let asked = Asked::new(&run.config, USERS_DRAWN);
    sync_disks();
    let store = options(&run.args.load).create_new(&dir)?;
    let progress = Progress::phase("appending and reading", Some(run.events));
    let mut users = asked.zipf.iter().cycle();
    let write = || {
        let append = |events: &[crate::NewEvent<'static>]| {
            events.iter().try_for_each(|event| store.append(event).map(drop).map_err(Failure::from))
        };
        load(&run.pool, run.events, 1, LOOKS, append, |done| {
            progress.set(done, done);
            Ok(())
        })?;
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
    run.add("mixed.appends", "append, one at a time, beside a reader", told.write_rate(), "events/s");
    run.add("mixed.pages", "  pages of Zipf users at the same time", told.read_rate(), "pages/s");
    store.close()?;
    drop(store);
    remove(&dir)
}
