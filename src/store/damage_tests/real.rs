//! The same on a real disk: what the in-memory one can't show is a mapping of a file that is shorter than it was.

use std::fs;
use std::path::Path;

use super::{Change, Ground, name_of};
use crate::io::Disk;
use crate::io::clock::SystemClock;
use crate::io::real::RealDisk;
use crate::store::images::{DIR, Place, open_at};

/// Writes an image's files into a directory.
fn write(ground: &Ground, image: &super::Image, dir: &Path) -> bool {
    let Some(disk) = ground.disk(image) else { return false };
    let _ = fs::remove_dir_all(dir);
    for (path, bytes) in disk.contents() {
        let path = dir.join(path.strip_prefix(DIR).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    true
}

#[test]
fn files_that_are_cut_gone_or_exchanged_are_told_on_a_real_disk() {
    let ground = Ground::new();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let real: std::sync::Arc<dyn Disk> = std::sync::Arc::new(RealDisk::default());
    let clock: std::sync::Arc<dyn crate::io::clock::Clock> = std::sync::Arc::new(SystemClock::new());
    let mut images = 0;
    for (path, bytes) in ground.files() {
        let mut changes = vec![Change::Gone, Change::Foreign, Change::Longer(vec![0; 5_000])];
        let lengths = [0, 1, 31, 4_095, 4_096, 8_192, bytes.len().saturating_sub(1)];
        changes.extend(lengths.into_iter().filter(|length| *length < bytes.len()).map(Change::Cut));
        for change in changes {
            let image = (path.clone(), change);
            for read_only in [true, false] {
                if !write(&ground, &image, &dir) {
                    continue;
                }
                let open = |read_only| open_at(&real, &clock, read_only, &dir);
                let judged = ground.sample.judge_at(&Place { open: &open, dir: &dir }, read_only, true);
                let sound = judged.as_ref().is_ok_and(|told| !told.older && (read_only || !told.shortened));
                assert!(sound, "{}, {:?}: {judged:?}", name_of(path), image.1);
                images += 1;
            }
        }
    }
    assert!(images > 200, "{images}");
}
