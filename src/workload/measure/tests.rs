//! That the measuring counts what it says: every event once, every caller, and percentiles of all calls.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::workload::{Pool, WorkloadConfig};

fn fine<T>(outcome: Result<T, Infallible>) -> T {
    outcome.unwrap()
}

#[test]
fn percentiles_are_of_all_calls() {
    let mut calls = Latencies::default();
    assert!(calls.micros(0.5).is_nan());
    (1..=1000).rev().for_each(|micros| calls.push(Duration::from_micros(micros)));
    let seen = [0.0, 0.001, 0.5, 0.99, 0.999, 1.0].map(|share| calls.micros(share));
    assert_eq!(seen.map(shown), ["1.00", "1.00", "500", "990", "999", "1,000"]);
    calls.push(Duration::from_secs(1));
    assert_eq!((calls.calls(), shown(calls.millis(1.0)).as_str()), (1001, "1,000"));
}

#[test]
fn a_load_appends_every_event_once_and_in_order() {
    let pool = Pool::new(&WorkloadConfig::default(), 70);
    for (events, batch, looks) in [(200, 1, 7), (200, 33, 7), (5, 100, 50), (0, 10, 3), (1, 1, 0)] {
        let (mut next, mut seen) = (0, Vec::new());
        let append = |slice: &[_]| {
            assert!(!slice.is_empty() && slice.len() <= batch);
            for event in slice {
                assert_eq!(event, pool.event(next));
                next += 1;
            }
            Ok(())
        };
        fine(load(&pool, events, batch, looks, append, |done| {
            seen.push(done);
            Ok(())
        }));
        assert_eq!(next as u64, events);
        assert_eq!((seen.len() as u64, seen.last()), (looks.max(1), Some(&events)));
        assert!(seen.is_sorted(), "{seen:?}");
    }
    let mut appended = Vec::new();
    let latencies = fine(append_each(&pool, 100, 80, |event| {
        appended.push(event.clone());
        Ok(())
    }));
    assert_eq!((latencies.calls(), appended.len()), (80, 80));
    assert!(appended.iter().zip(100..).all(|(event, number)| event == pool.event(number)));
}

#[test]
fn pages_are_counted_and_warming_up_is_not() {
    let asked = Asked::new(&WorkloadConfig { users: 500, ..WorkloadConfig::default() }, 1_000);
    assert_eq!(distinct(&asked.uniform, 1_000).len(), 500, "every user, though some come twice");
    assert!(distinct(&asked.zipf, 1_000).len() < 500 && distinct(&asked.zipf, 10).len() == 10);
    assert!(asked.without_events.iter().all(|user| !asked.uniform.contains(user)));
    let calls = Cell::new(0);
    let page = |_: &_| {
        calls.set(calls.get() + 1);
        Ok(if calls.get() % 2 == 0 { 10 } else { 20 })
    };
    let cold = fine(pages(&asked.uniform, 30, false, page));
    assert_eq!((calls.get(), cold.latencies.calls()), (30, 30));
    assert!((cold.events - 15.0).abs() < f64::EPSILON);
    let warm = fine(pages(&asked.hot, 30, true, page));
    assert_eq!((calls.get(), warm.latencies.calls()), (2_060, 30));
}

#[test]
fn callers_are_all_counted_and_an_error_of_one_ends_all() {
    let made = AtomicU64::new(0);
    let call = |_, _| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let mut counter = 0;
    let count = || {
        // Until ten more calls have begun, of which seven have returned.
        let until = made.load(Ordering::Relaxed) + 10;
        while made.load(Ordering::Relaxed) < until {
            std::thread::yield_now();
        }
        counter += 7;
        Ok::<u64, &str>(counter)
    };
    let told = callers(3, Duration::ZERO, Duration::ZERO, call, count).unwrap();
    assert!(told.calls >= 7 && told.rate() > 0.0 && told.counted == 7, "{told:?}");

    let failed = AtomicBool::new(false);
    let failing = |caller, number| {
        if (caller, number) != (2, 5) {
            return Ok(());
        }
        failed.store(true, Ordering::Relaxed);
        Err("no")
    };
    let count = || {
        while !failed.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Ok(0)
    };
    assert_eq!(callers(3, Duration::ZERO, Duration::ZERO, failing, count).unwrap_err(), "no");
    let broken = || Err("counter");
    let outcome = callers(3, Duration::ZERO, Duration::ZERO, |_, _| Ok(()), broken);
    assert_eq!(outcome.unwrap_err(), "counter", "and the callers have stopped");
}

#[test]
fn a_load_that_is_offered_is_appended_in_order_and_no_event_before_its_time() {
    const EVENTS: u64 = 3000;
    let pool = Pool::new(&WorkloadConfig::default(), 10);
    let (begun, mut appended, mut seen) = (std::time::Instant::now(), 0_u64, 0);
    let append = |event: &crate::NewEvent<'static>| {
        let time = Duration::from_micros(appended);
        let place = usize::try_from(appended % 10).unwrap();
        assert!(begun.elapsed() >= time && std::ptr::eq(event, pool.event(place)), "event {appended}");
        appended += 1;
        Ok::<_, &str>(())
    };
    let paced = load_paced(&pool, EVENTS, 1_000_000, append, |done| {
        assert!(done > seen);
        seen = done;
        Ok(())
    });
    let paced = paced.unwrap();
    assert_eq!((seen, appended), (EVENTS, EVENTS));
    assert!(paced.spent >= Duration::from_micros(EVENTS - 1) && paced.behind_max <= paced.spent);
    let failed = load_paced(&pool, 5, 1, |_| Err("append"), |_| Ok(()));
    assert_eq!(failed.map(|_| ()), Err("append"));
}

#[test]
fn a_reader_reads_for_as_long_as_the_writer_writes() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let write = || {
        // Until the reader was seen three times.
        (0..3).for_each(|_| receiver.recv().unwrap());
        Ok::<_, &str>(11)
    };
    let told = together(write, || {
        let _ = sender.send(());
        Ok(())
    });
    let told = told.unwrap();
    assert!(told.written == 11 && told.read >= 2 && told.write_rate() > 0.0, "{told:?}");
    assert_eq!(together(|| Ok(1), || Err("page")).err().unwrap_or("page"), "page");
    assert_eq!(together(|| Err("append"), || Ok(())).unwrap_err(), "append");
}

#[test]
fn files_are_synced_and_dropped_and_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut bare = BareSync::new(&dir.path().join("bare")).unwrap();
    (0..3).for_each(|_| bare.write_and_sync().unwrap());
    std::fs::create_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join("below/file"), "kept").unwrap();
    let way = drop_page_cache(dir.path(), Some(CacheDrop::Advise)).unwrap();
    assert_eq!(way, CacheDrop::Advise);
    assert_eq!(std::fs::read(dir.path().join("below/file")).unwrap(), b"kept");
    assert_eq!(std::fs::read(dir.path().join("bare")).unwrap()[..8193], [&[0x5a; 8193][..]].concat());
    assert!(drop_page_cache(&dir.path().join("missing"), Some(CacheDrop::Advise)).is_err());
    is_in_memory(dir.path()).unwrap();
    assert!(anonymous_bytes().unwrap() > 1 << 16);
}

#[test]
fn a_process_is_killed_after_its_line() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo ready; read never; echo 'not killed' >&2; exit 7"]);
    assert_eq!(killed_after_its_line(&mut command).unwrap(), "ready");
    let mut silent = std::process::Command::new("true");
    assert!(killed_after_its_line(&mut silent).is_err());
}

#[test]
fn figures_are_shown_with_digits_that_say_something() {
    let texts = [0.0, 0.444, 9.99, 12.34, 123.4, 999.9, 1234.0, 1_391_000.4, -1234.0, -12.0].map(shown);
    let expected = ["0.00", "0.44", "9.99", "12.3", "123", "1,000", "1,234", "1,391,000", "-1,234", "-12.0"];
    assert_eq!(texts, expected);
    let mut report = Report::default();
    report.add("append.one.rate", "append, one at a time", 5.0, "events/s");
    assert_eq!((report.value("append.one.rate"), report.value("append")), (Some(5.0), None));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(json, r#"{"append.one.rate":{"value":5.0,"unit":"events/s"}}"#);
}
