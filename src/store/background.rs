//! The threads that look after a store: some for files ahead, one for sealing, one for merging, one for packing, some that
//! commit for tasks, one that commits on time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::{Core, Durability};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Action, Category, Details, Level, NewEvent, Timestamp};
#[cfg(test)]
use crate::format::seeded::{Bug, has};
use crate::io::clock::{Clock, ClockJump, JumpWatch};
use crate::io::real::lower_thread_priority;
use crate::shard::{Background, Job, Shard};

/// How often a store that promises no interval syncs nevertheless, and every store looks at clock and idle shards.
const TICK: Duration = Duration::from_millis(100);
/// How long a shard must be idle before its floor is written down: then no record will carry it.
const IDLE: Duration = Duration::from_secs(1);
/// How many threads make files ahead: they wait for the disk most of the time, and shards fill up together.
const AHEAD_THREADS_MAX: usize = 4;
/// How many bytes of merged runs are written in a second, at most: writers and readers need the disk, too. About four times
/// what a million events a second make.
const MERGE_BYTES_PER_SECOND: u64 = 64 << 20;
/// How many bytes of events are packed in a second, at most, each of them counted twice: written and verified.
const PACK_BYTES_PER_SECOND: u64 = 256 << 20;
/// How many threads commit for tasks: each waits for one shard's file.
const COMMIT_THREADS_MAX: usize = 4;
/// The longest interval: a moment so far ahead can still be told.
const NEVER: Duration = Duration::from_hours(24 * 365 * 1_000);
/// How often a store at `Buffered` syncs.
const BUFFERED_INTERVAL: Duration = Duration::from_secs(1);

/// Runs jobs in the thread that submits them, or leaves them to whoever can't go on without: for stores without threads.
#[derive(Debug)]
pub(super) struct Inline {
    pub(super) runs: bool,
}

impl Background for Inline {
    fn submit(&self, shard: &Arc<Shard>, job: Job) {
        // Nobody should wait for what is only to be faster later.
        if self.runs && !matches!(job, Job::Warm | Job::WarmRest) {
            // What fails here fails again where its result is needed, and is told there.
            let _ = shard.run(job);
            if job == Job::Seal {
                if shard.wants_heads() {
                    let _ = shard.run(Job::Heads);
                }
                let _ = shard.run(Job::Merge);
                let _ = shard.run(Job::Pack);
            }
        }
    }

    fn commit_soon(&self, _shard: &Arc<Shard>) {}

    fn has_threads(&self) -> bool {
        false
    }
}

type Work = (Arc<Shard>, Job);

/// What is never sent: a channel of it only ends.
#[derive(Debug)]
enum Never {}

/// The threads of a store.
#[derive(Debug)]
pub(super) struct Workers {
    queues: Arc<Queues>,
    ahead: Receiver<Work>,
    sealing: Receiver<Work>,
    heads: Receiver<Work>,
    merging: Receiver<Work>,
    stopped: Receiver<Never>,
    packing: Receiver<Work>,
    commits: Receiver<Arc<Shard>>,
    /// Never sent to: it ends when the store is closed.
    ticks: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The ways to the threads.
#[derive(Debug)]
struct Queues {
    ahead: Mutex<Option<Sender<Work>>>,
    sealing: Mutex<Option<Sender<Work>>>,
    heads: Mutex<Option<Sender<Work>>>,
    merging: Mutex<Option<Sender<Work>>>,
    packing: Mutex<Option<Sender<Work>>>,
    /// Dropped when the threads are to stop.
    running: Mutex<Option<Sender<Never>>>,
    commits: Mutex<Option<Sender<Arc<Shard>>>>,
    ticks: Mutex<Option<Sender<()>>>,
}

impl Background for Queues {
    fn submit(&self, shard: &Arc<Shard>, job: Job) {
        let queue = match job {
            // Not among what writers may come to wait for: a checkpoint is a file of some megabytes.
            Job::Seal | Job::Checkpoint => &self.sealing,
            Job::Heads => &self.heads,
            Job::Merge | Job::Warm | Job::WarmRest => &self.merging,
            Job::Pack => &self.packing,
            Job::Prepare | Job::Populate => &self.ahead,
        };
        if let Some(queue) = &*queue.lock() {
            let _ = queue.send((Arc::clone(shard), job));
        }
    }

    fn commit_soon(&self, shard: &Arc<Shard>) {
        if let Some(commits) = &*self.commits.lock() {
            let _ = commits.send(Arc::clone(shard));
        }
    }

    fn has_threads(&self) -> bool {
        true
    }
}

impl Workers {
    /// The ways to threads that don't run yet.
    pub(super) fn channels() -> Self {
        let (ahead, ahead_work) = unbounded();
        let (sealing, sealing_work) = unbounded();
        let (heads, heads_work) = unbounded();
        let (merging, merging_work) = unbounded();
        let (packing, packing_work) = unbounded();
        let (running, stopped) = bounded(0);
        let (commits, commits_asked) = unbounded();
        let (ticks, ticked) = bounded(0);
        let queues = Arc::new(Queues {
            ahead: Mutex::new(Some(ahead)),
            sealing: Mutex::new(Some(sealing)),
            heads: Mutex::new(Some(heads)),
            merging: Mutex::new(Some(merging)),
            packing: Mutex::new(Some(packing)),
            running: Mutex::new(Some(running)),
            commits: Mutex::new(Some(commits)),
            ticks: Mutex::new(Some(ticks)),
        });
        Self {
            queues,
            ahead: ahead_work,
            sealing: sealing_work,
            heads: heads_work,
            merging: merging_work,
            stopped,
            packing: packing_work,
            commits: commits_asked,
            ticks: ticked,
            threads: Mutex::default(),
        }
    }

    pub(super) fn background(&self) -> Arc<dyn Background> {
        Arc::clone(&self.queues) as Arc<dyn Background>
    }

    /// Starts the threads, and gives them the first work. If one can't be started, those that were have ended.
    pub(super) fn start(
        &self,
        core: &Arc<Core>,
        clock: &Arc<dyn Clock>,
        clock_jump_max: Duration,
    ) -> Result<()> {
        self.start_threads(core, clock, clock_jump_max).inspect_err(|_| self.stop())?;
        start(core);
        Ok(())
    }

    fn start_threads(
        &self,
        core: &Arc<Core>,
        clock: &Arc<dyn Clock>,
        clock_jump_max: Duration,
    ) -> Result<()> {
        let mut threads = self.threads.lock();
        for _ in 0..core.shards.len().min(AHEAD_THREADS_MAX) {
            threads.push(spawn_worker("usertrail-ahead", self.ahead.clone())?);
        }
        threads.push(spawn_worker("usertrail-heads", self.heads.clone())?);
        let (sealing, queues) = (self.sealing.clone(), Arc::clone(&self.queues));
        threads.push(spawn("usertrail-seal", move || {
            for (shard, job) in sealing {
                let _ = shard.run(job);
                // What was sealed may have made a merge due, or have to be packed.
                queues.submit(&shard, Job::Merge);
                queues.submit(&shard, Job::Pack);
            }
        })?);
        let (merging, stopped) = (self.merging.clone(), self.stopped.clone());
        threads.push(spawn("usertrail-merge", move || merge_all(&merging, &stopped))?);
        let (packing, stopped) = (self.packing.clone(), self.stopped.clone());
        threads.push(spawn("usertrail-pack", move || pack_all(&packing, &stopped))?);
        for _ in 0..core.shards.len().min(COMMIT_THREADS_MAX) {
            let (core, asked) = (Arc::clone(core), self.commits.clone());
            let run = move || asked.iter().for_each(|shard| core.committer.commit_asked(&shard));
            threads.push(spawn("usertrail-commit", run)?);
        }
        let ticker = Ticker {
            core: Arc::clone(core),
            clock_jump_max,
            watch: JumpWatch::new(&**clock),
            clock: Arc::clone(clock),
            shards: core.shards.iter().map(|shard| (shard.published(), Instant::now())).collect(),
        };
        let ticks = self.ticks.clone();
        threads.push(spawn("usertrail-tick", move || ticker.run(&ticks))?);
        Ok(())
    }

    /// Stops the threads after what they do now, and waits for them.
    pub(super) fn stop(&self) {
        *self.queues.ahead.lock() = None;
        *self.queues.sealing.lock() = None;
        *self.queues.heads.lock() = None;
        *self.queues.merging.lock() = None;
        *self.queues.running.lock() = None;
        *self.queues.packing.lock() = None;
        *self.queues.commits.lock() = None;
        *self.queues.ticks.lock() = None;
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

/// Hands out the first work of a store.
pub(super) fn start(core: &Core) {
    for shard in &*core.shards {
        core.background.submit(shard, Job::Prepare);
        core.background.submit(shard, Job::Warm);
        core.background.submit(shard, Job::Seal);
        core.background.submit(shard, Job::Heads);
    }
    // After what is small in all of them.
    core.shards.iter().for_each(|shard| core.background.submit(shard, Job::WarmRest));
}

fn spawn_worker(name: &str, work: Receiver<Work>) -> Result<JoinHandle<()>> {
    spawn(name, move || {
        for (shard, job) in work {
            // What fails here is tried again by the writer that needs it, which gets the error.
            let _ = shard.run(job);
        }
    })
}

/// Merges what is due in these shards, no faster than it may, until the store closes; and brings in what look-ups pass.
fn merge_all(work: &Receiver<Work>, stopped: &Receiver<Never>) {
    lower_thread_priority();
    for (shard, job) in work {
        #[cfg(test)]
        let job = if has(Bug::WarmingForgotten) { Job::Merge } else { job };
        // What fails here is tried again after the next seal.
        let _ = match job {
            Job::Merge => shard.merge_due(&mut |written| wait_for(written, MERGE_BYTES_PER_SECOND, stopped)),
            other => shard.run(other),
        };
    }
}

/// Packs what is due in these shards, no faster than it may, until the store closes.
fn pack_all(work: &Receiver<Work>, stopped: &Receiver<Never>) {
    lower_thread_priority();
    for (shard, _) in work {
        // As for merges.
        let _ = shard.pack_due(&mut |packed| wait_for(packed, PACK_BYTES_PER_SECOND, stopped));
    }
}

/// A wait that ends at once when the store closes; the sender is dropped then.
fn wait_for(bytes: u64, bytes_per_second: u64, stopped: &Receiver<Never>) -> Result<()> {
    match stopped.recv_timeout(Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second)) {
        Ok(never) => match never {},
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err(Error::new(ErrorKind::Closed, "the store is closed")),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| Error::io("start a thread", std::path::Path::new(name), source))
}

/// Commits on time; watches the clock; notes the floor of idle shards.
struct Ticker {
    core: Arc<Core>,
    clock_jump_max: Duration,
    watch: JumpWatch,
    clock: Arc<dyn Clock>,
    /// For each shard the tail when it was last seen to move, and when that was.
    shards: Vec<(u64, Instant)>,
}

impl Ticker {
    fn run(mut self, ticks: &Receiver<()>) {
        let interval = match self.core.durability {
            Durability::Interval(interval) => interval.min(NEVER),
            Durability::Buffered => BUFFERED_INTERVAL,
            Durability::Durable => TICK,
        };
        let mut next_commit = Instant::now() + interval;
        loop {
            let wait = next_commit.saturating_duration_since(Instant::now()).min(TICK);
            if ticks.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            if Instant::now() >= next_commit {
                // A failure poisons its shard, where writers and waiters find it.
                let _ = self.core.committer.flush();
                next_commit = Instant::now() + interval;
            }
            if let Some(jump) = self.watch.check(&*self.clock, self.clock_jump_max) {
                self.record_jump(jump);
            }
            self.note_floors();
            for shard in &*self.core.shards {
                if shard.wants_checkpoint() {
                    self.core.background.submit(shard, Job::Checkpoint);
                }
                // Sealing that failed for want of room is tried again.
                if !shard.frozen.lock().is_empty() {
                    self.core.background.submit(shard, Job::Seal);
                }
                if shard.wants_heads() {
                    self.core.background.submit(shard, Job::Heads);
                }
            }
        }
    }

    /// Writes the floor of shards that have been idle, so that opening them after a kill has nothing to copy.
    fn note_floors(&mut self) {
        for (shard, (seen, since)) in self.core.shards.iter().zip(&mut self.shards) {
            let published = shard.published();
            if published != *seen {
                (*seen, *since) = (published, Instant::now());
            } else if since.elapsed() >= IDLE {
                shard.note_floor();
            }
        }
    }

    fn record_jump(&self, jump: ClockJump) {
        let time = |micros| Timestamp::from_micros(micros).to_string();
        let details = Details::from_value(&serde_json::json!({
            "expected": time(jump.expected_micros),
            "actual": time(jump.actual_micros),
        }));
        let event = details.and_then(|details| {
            NewEvent::builder(Action::SYSTEM_CLOCK_JUMPED)
                .category(Category::System)
                .level(Level::Warning)
                .details(details)
                .build()
        });
        if let Ok(event) = event {
            // A store that can't take it has worse troubles, and says so to its writers.
            let _ = self.core.append(self.core.shard_at(0), &event);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::Options;
    use crate::event::EventView;
    use crate::io::clock::tests::ManualClock;
    use crate::io::memory::MemoryDisk;
    use crate::store::open::{Host, WorkersKind, create_new};

    /// Does these jobs of the merging thread in the caller.
    pub(in crate::store) fn work_off(jobs: impl IntoIterator<Item = Work>) {
        let (merging, work) = unbounded();
        jobs.into_iter().for_each(|job| merging.send(job).unwrap());
        drop(merging);
        let (_running, stopped) = bounded(0);
        merge_all(&work, &stopped);
    }

    #[test]
    fn a_jump_of_the_clock_is_recorded() {
        // An interval that never ends is none of the clock's business.
        for durability in [Durability::default(), Durability::Interval(Duration::MAX)] {
            is_recorded(&Options::new().shards(1).durability(durability));
        }
    }

    fn is_recorded(options: &Options) {
        let clock = Arc::new(ManualClock::default());
        let disk = Arc::new(MemoryDisk::default());
        let host = Host { disk, clock: Arc::clone(&clock) as Arc<dyn Clock>, workers: WorkersKind::Threads };
        let store = create_new(options, &host, "memory".into()).unwrap();
        clock.wall_micros.store(3_600_000_000, Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_mins(1);
        while store.stats().unwrap().events == 0 && Instant::now() < patience {
            std::thread::yield_now();
        }
        let view = store.0.core.shard_at(0).view();
        let leaf = view.leaf(0).unwrap();
        let event = EventView::parse(&leaf).unwrap();
        assert_eq!(event.action(), Ok("system.clock_jumped"));
        let details = r#"{"actual":"1970-01-01T01:00:00Z","expected":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(event.details(), Ok(Some(details)));
    }
}
