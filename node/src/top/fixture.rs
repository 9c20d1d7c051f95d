//! Tasks and hosts for tests.

use crdt::task::TaskState;

use crate::api::page::Page;
use crate::api::wire::{NodeLine, TaskLine};

/// Returns task `k3v7qa-N` in a state.
pub(super) fn line(n: u64, state: TaskState) -> TaskLine {
    TaskLine {
        command: format!("make {n}"),
        created_ms: 990_000,
        ..crate::cli::task_for_tests(&format!("k3v7qa-{n}"), state)
    }
}

/// Returns so many of a list of so many tasks, from one on.
pub(super) fn page(total: u64, offset: u64, limit: u64) -> Page {
    let last = (offset + limit).min(total);
    let tasks = (offset + 1..=last).map(|n| line(n, TaskState::Success));
    Page {
        total,
        offset,
        counts: [("success".to_owned(), total)].into(),
        tasks: tasks.collect(),
    }
}

/// Returns a host.
pub(super) fn host(name: &str) -> NodeLine {
    NodeLine {
        name: name.into(),
        tag: "k3v7qa".into(),
        alive: true,
        own: false,
        since_ms: Some(7_500_000),
        silent_ms: None,
        cpus: 2.0,
        cpus_free: 0.5,
        memory_bytes: 4 << 30,
        running: 3,
        draining: false,
        places: 0,
        load: 1.234,
        version: "0.1.0".into(),
        round_trip_ms: Some(0.42),
        differs: Some(0),
        addresses: vec!["/ip4/10.0.0.1/tcp/4747".into()],
    }
}
