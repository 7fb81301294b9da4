//! The recording file system mounted, the store's process on it, and its end: bounded in time, and unmounted whatever happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};

use super::filesystem::{Recorder, State};
use super::record::Entry;
use super::replay::Image;
use super::workload::Life;
use super::{FLAWS, live_with};

/// How long a life may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(3);
/// What the process of a life is told, as JSON.
const ORDERS: &str = "USERTRAIL_FUSE_LIFE";
/// What the mounts are called in the system's list, before the number of the process that serves them.
const MOUNT_NAME: &str = "usertrail-recorder-";

#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    root: PathBuf,
    life: Life,
    /// A place in the list of flaws.
    flaw: Option<usize>,
}

/// Why the file system can't be mounted here, if it can't.
pub(super) fn obstacle() -> Option<&'static str> {
    if !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse");
    }
    (!geteuid().is_root()).then_some("mounting needs root")
}

/// A mounted file system; it ends with this.
#[derive(Debug)]
pub(super) struct Mounted {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
    dir: tempfile::TempDir,
}

impl Mounted {
    /// With what an image has, durable. Says which number each file got.
    pub(super) fn new(image: &Image) -> std::io::Result<(Self, BTreeMap<PathBuf, u64>)> {
        remove_leftovers();
        let mut state = State::default();
        image.directories.iter().for_each(|path| state.put_directory(path));
        let files = image.files.iter();
        let numbers =
            files.map(|(path, content)| (path.clone(), state.put_file(path, content.all()))).collect();
        let state = Arc::new(Mutex::new(state));
        let dir = tempfile::tempdir()?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(format!("{MOUNT_NAME}{}", std::process::id()))];
        let session = fuser::spawn_mount(Recorder(Arc::clone(&state)), dir.path(), &config)?;
        Ok((Self { state, session: Some(session), dir }, numbers))
    }

    /// Lets a process live on it. Says what went wrong with it, if anything.
    pub(super) fn live(&self, life: Life, flaw: Option<usize>) -> Result<(), String> {
        let orders = Orders { root: self.dir.path().to_owned(), life, flaw };
        let child = Command::new(std::env::current_exe().map_err(|error| error.to_string())?)
            .args(["--exact", "store::crash_tests::fuse::mount::a_life", "--ignored", "--nocapture"])
            .env(ORDERS, serde_json::to_string(&orders).map_err(|error| error.to_string())?)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let pid = Pid::from_child(&child);
        let (told, end) = channel();
        std::thread::spawn(move || told.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(PATIENCE) else {
            // What waits for the file system gets an error, then a signal reaches it.
            self.abort();
            let _ = kill_process(pid, Signal::KILL);
            return Err(format!("{life:?} took more than {PATIENCE:?}"));
        };
        let output: Output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let printed = String::from_utf8_lossy(&output.stdout);
            return Err(format!("{life:?}: {}\n{said}\n{printed}", output.status));
        }
        Ok(())
    }

    /// Ends what waits for the file system, and takes it away, in use or not.
    fn abort(&self) {
        let _ = unmount(self.dir.path(), FORCED);
    }

    /// Unmounts it; what it recorded.
    pub(super) fn finish(mut self) -> Vec<Entry> {
        if let Some(session) = self.session.take() {
            // Something may hold on to it for a moment still. Ends when nothing does, with all that the kernel had to write.
            let unmounted = unmount(self.dir.path(), &["-l"]).unwrap();
            assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
            session.join().unwrap();
        }
        let mut state = self.state.lock();
        assert!(state.complaints.is_empty(), "{:?}", state.complaints);
        std::mem::take(&mut state.record)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Before the directory is removed: nothing may look into it while it is mounted.
        if let Some(session) = self.session.take() {
            self.abort();
            let _ = session.join();
        }
    }
}

const FORCED: &[&str] = &["-f", "-l"];

fn unmount(path: &Path, options: &[&str]) -> std::io::Result<Output> {
    Command::new("umount").args(options).arg(path).output()
}

/// A process that was killed leaves its mount behind, which answers with errors alone.
fn remove_leftovers() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(path)) = (words.next(), words.next()) else { continue };
        let Some(process) = name.strip_prefix(MOUNT_NAME) else { continue };
        if !Path::new("/proc").join(process).exists() {
            let _ = unmount(Path::new(path), FORCED);
            let _ = std::fs::remove_dir(path);
        }
    }
}

#[test]
#[ignore = "the store's process in the tests of the recording file system, which start it"]
fn a_life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    live_with(&orders.root, orders.life, orders.flaw.map(|flaw| FLAWS[flaw].flaw));
}
