//! Storms of random faults, in their short form: `cargo xtask chaos` is the long one.

use std::time::Duration;

use tests::chaos::{Fault, Storm, Tally, rage};

#[track_caller]
fn weather(seed: u64, faults: &'static [Fault]) {
    let storm = Storm {
        seed,
        nodes: 5,
        tasks: 150,
        lasts: Duration::from_secs(15),
        faults,
    };
    let mut tally = Tally::default();
    if rage(&storm, &mut tally).is_none() {
        return;
    }
    assert!(tally.violations.is_empty(), "{tally}");
    assert!(tally.tasks >= 75 && !tally.faults.is_empty(), "{tally}");
}

#[test]
fn processes_that_die_and_freeze_break_no_promise() {
    weather(1, Fault::PROCESSES);
}

#[test]
fn networks_that_split_besides_break_no_promise() {
    weather(2, Fault::ALL);
}
