//! The measures themselves, one function for each row or few that share a mesh.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::mesh::{Mesh, Programs, Usage, count, until};
use super::table::{Goals, Table};
use super::{Failed, Size};

/// The lease that nodes have unless told otherwise: what a take-over waits for.
const LEASE: Duration = Duration::from_secs(6);

/// Spawn and wait of `/bin/true` from a process of its own with two slots.
pub(crate) fn floor(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let rate = median_of(size.repeats, || {
        let done = Command::new(&programs.xtask)
            .args(["floor", "3000"])
            .output()?;
        Ok(String::from_utf8_lossy(&done.stdout).trim().parse()?)
    })?;
    table.set_floor(rate);
    Ok(())
}

/// Throughput and CPU of one node with two slots.
pub(crate) fn one_node(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mesh = Mesh::start(programs, 1, 2)?;
    let before = mesh.node(0).usage()?;
    let rate = median_of(size.repeats, || rate_of(&mesh, size.tasks))?;
    let after = mesh.node(0).usage()?;
    table.add_rate(
        "one node, 2 slots, true",
        rate,
        Goals {
            first: ">= 0.4 of floor",
            goal: ">= 0.9 of floor",
        },
    );
    let tasks = number(size.tasks * size.repeats);
    let cpu = (after.cpu - before.cpu) / tasks * 1_000.0;
    table.add(
        "one node: CPU per task above the process",
        cpu,
        "ms",
        Goals {
            first: "1",
            goal: "<= 0.2",
        },
    );
    Ok(())
}

/// Throughput and CPU of three nodes: three durable logs on one disk.
pub(crate) fn three_nodes(
    programs: &Programs,
    size: Size,
    table: &mut Table,
) -> Result<(), Failed> {
    let mesh = Mesh::start(programs, 3, 2)?;
    let before = cpu_of(&mesh)?;
    let rate = median_of(size.repeats, || rate_of(&mesh, size.tasks))?;
    let cpu = (cpu_of(&mesh)? - before) / number(size.tasks * size.repeats) * 1_000.0 / 3.0;
    table.add_rate(
        "three nodes, true",
        rate,
        Goals {
            first: ">= 0.25 of floor",
            goal: ">= 0.7 of floor",
        },
    );
    table.add(
        "three nodes: CPU per task and node",
        cpu,
        "ms",
        Goals {
            first: "",
            goal: "<= 0.2",
        },
    );
    Ok(())
}

/// Submission one by one and in bulk, and what waiting tasks cost, on three nodes that run nothing.
pub(crate) fn submission(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mut mesh = Mesh::start(programs, 3, 0)?;
    let times = times_of(size.samples, || {
        Ok(mesh.aque(0, &["submit", "true"], "")?.1)
    })?;
    table.add(
        "submit one, durable: aque, median",
        percentile(&times, 50),
        "ms",
        Goals {
            first: "15",
            goal: "8",
        },
    );
    let times = times_of(size.samples, || {
        Ok(mesh.aque(0, &["status", "--limit", "50"], "")?.1)
    })?;
    table.add(
        "aque status, median",
        percentile(&times, 50),
        "ms",
        Goals {
            first: "30",
            goal: "<= 10",
        },
    );
    let help = Command::new(&programs.aque).arg("--help").output()?;
    table.add(
        "aque --help: text",
        count(u64::try_from(help.stdout.len())?),
        "bytes",
        Goals {
            first: "",
            goal: "",
        },
    );
    let before: Vec<Usage> = mesh
        .nodes()
        .iter()
        .map(|node| node.usage())
        .collect::<Result<_, _>>()?;
    let disk = mesh.node(1).disk()?;
    let input = (0..size.bulk).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    let (group, took) = mesh.aque(0, &["xargs", "-n", "1", "true"], &input)?;
    let label = format!("submit {} commands in one call", size.bulk);
    table.add(
        &label,
        took.as_secs_f64(),
        "s",
        Goals {
            first: "20 (100,000)",
            goal: "<= 2 (100,000)",
        },
    );
    let bulk = size.bulk;
    for place in 0..3 {
        until(|| {
            let tasks = mesh.node(place).wire().ok()?.figure("aque_tasks").ok()?;
            (count(tasks) >= number(bulk)).then_some(())
        })?;
    }
    let after: Vec<Usage> = mesh
        .nodes()
        .iter()
        .map(|node| node.usage())
        .collect::<Result<_, _>>()?;
    let grown = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.resident - before.resident);
    let memory = grown.sum::<f64>() / 3.0 / number(size.bulk) / 1024.0;
    table.add(
        "pending task: memory per node",
        memory,
        "KiB",
        Goals {
            first: "2",
            goal: "<= 0.4",
        },
    );
    let disk = (mesh.node(1).disk()? - disk) / number(size.bulk) / 1024.0;
    table.add(
        "pending task: disk per node",
        disk,
        "KiB",
        Goals {
            first: "",
            goal: "<= 0.15",
        },
    );
    let times = times_of(size.samples.min(50), || {
        Ok(mesh.aque(1, &["status", "--limit", "50"], "")?.1)
    })?;
    let label = format!("aque status of the last 50 of {}", size.bulk);
    table.add(
        &label,
        percentile(&times, 50),
        "ms",
        Goals {
            first: "",
            goal: "<= 20 (1,000,000)",
        },
    );
    mesh.kill(1);
    let took = mesh.restart(1)?;
    let label = format!("restart to ready with {} held", size.bulk);
    table.add(
        &label,
        took.as_secs_f64(),
        "s",
        Goals {
            first: "",
            goal: "<= 3 (1,000,000)",
        },
    );
    mesh.wait_whole()?;
    let known = mesh.node(1).wire()?.figure("aque_tasks")?;
    if count(known) < number(size.bulk) {
        return Err(format!("{group}: a restarted node knows {known} tasks only").into());
    }
    Ok(())
}

/// From the request on the socket to the process that runs, on an idle mesh of three; then what idling costs.
pub(crate) fn latency(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mesh = Mesh::start(programs, 3, 2)?;
    let mut wire = mesh.node(0).wire()?;
    let times = times_of(size.samples, || {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let id = wire.submit(&["/bin/date", "+%s%N"])?;
        let printed: u64 = wire.output(&id)?.trim().parse()?;
        wire.wait(&id)?;
        Ok(Duration::from_nanos(printed).saturating_sub(asked))
    })?;
    for (label, percent, goals) in [
        (
            "submit to start, idle mesh, p50",
            50,
            Goals {
                first: "40",
                goal: "8",
            },
        ),
        (
            "submit to start, idle mesh, p99",
            99,
            Goals {
                first: "100",
                goal: "20",
            },
        ),
    ] {
        table.add(label, percentile(&times, percent), "ms", goals);
    }
    let (began, before) = (Instant::now(), cpu_of(&mesh)?);
    let bytes = wire.figure("aque_net_bytes_sent")?;
    // Idleness has no event to wait for: it is measured over a span of time.
    std::thread::sleep(LEASE * 2);
    let span = began.elapsed().as_secs_f64();
    let share = (cpu_of(&mesh)? - before) / span / 3.0 * 100.0;
    table.add(
        "idle mesh of three: CPU of a node",
        share,
        "%",
        Goals {
            first: "3 (10 nodes)",
            goal: "<= 0.5 (10 nodes)",
        },
    );
    let traffic = count(wire.figure("aque_net_bytes_sent")?.saturating_sub(bytes)) / span / 1024.0;
    table.add(
        "idle mesh of three: sent by a node",
        traffic,
        "KiB/s",
        Goals {
            first: "20 (10 nodes)",
            goal: "<= 2 (10 nodes)",
        },
    );
    Ok(())
}

/// From `kill -9` of a host to the start of its task elsewhere.
pub(crate) fn take_over(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mut mesh = Mesh::start(programs, 3, 2)?;
    let mut times = Vec::new();
    for loss in 0..size.losses {
        let record = mesh.path(&format!("runs{loss}"));
        let script = format!(
            "echo $AQUE_HOST $(date +%s%N) >> {}; exec sleep 600",
            record.display()
        );
        let id = mesh.node(0).wire()?.submit(&["/bin/sh", "-c", &script])?;
        let runs = |least: usize| {
            until(|| {
                let text = fs::read_to_string(&record).ok()?;
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                (lines.len() >= least && text.ends_with('\n')).then_some(lines)
            })
        };
        let first = runs(1)?.pop().unwrap_or_default();
        let place = (0..3)
            .find(|place| first.starts_with(&format!("n{place} ")))
            .ok_or("a run on no known host")?;
        let killed = SystemTime::now().duration_since(UNIX_EPOCH)?;
        mesh.kill(place);
        let second = runs(2)?.pop().unwrap_or_default();
        let started: u64 = second.split(' ').nth(1).unwrap_or_default().parse()?;
        times.push(Duration::from_nanos(started).saturating_sub(killed));
        mesh.restart(place)?;
        mesh.wait_whole()?;
        mesh.aque(place, &["kill", "-s", "KILL", &id], "")?;
    }
    times.sort_unstable();
    let over = percentile(&times, 50) / 1_000.0 - LEASE.as_secs_f64();
    table.add(
        "host killed: take-over beyond the lease of 6 s",
        over,
        "s",
        Goals {
            first: "<= 2",
            goal: "<= 0.5",
        },
    );
    Ok(())
}

/// Every process of a mesh is killed in the middle of a run of tasks, and all are started again.
pub(crate) fn all_killed(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mut mesh = Mesh::start(programs, 3, 2)?;
    let record = mesh.path("runs");
    let script = format!("echo $AQUE_TID >> {}", record.display());
    let input = (0..size.killed).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    let (group, _) = mesh.aque(0, &["xargs", "-n", "1", "/bin/sh", "-c", &script], &input)?;
    let runs = || {
        fs::read_to_string(&record)
            .unwrap_or_default()
            .lines()
            .count()
    };
    until(|| (runs() >= size.killed * 2 / 5).then_some(()))?;
    (0..3).for_each(|place| mesh.kill(place));
    for place in 0..3 {
        mesh.restart(place)?;
    }
    mesh.node(0).wire()?.wait(&group)?;
    let mut times_run: BTreeMap<String, u32> = BTreeMap::new();
    for line in fs::read_to_string(&record)?.lines() {
        *times_run.entry(line.to_owned()).or_default() += 1;
    }
    let lost = size.killed.saturating_sub(times_run.len());
    let twice = times_run.values().filter(|runs| **runs > 1).count();
    let label = format!("all killed and restarted: lost of {}", size.killed);
    table.add(
        &label,
        number(lost),
        "tasks",
        Goals {
            first: "0",
            goal: "0",
        },
    );
    let goals = Goals {
        first: "those running",
        goal: "0",
    };
    table.add(
        "all killed and restarted: run twice",
        number(twice),
        "tasks",
        goals,
    );
    Ok(())
}

/// How large the programs are on disk.
pub(crate) fn binaries(programs: &Programs, _: Size, table: &mut Table) -> Result<(), Failed> {
    for (label, path) in [
        ("size of aque-node", &programs.node),
        ("size of aque", &programs.aque),
    ] {
        let bytes = fs::metadata(path)?.len();
        table.add(
            label,
            count(bytes) / 1024.0 / 1024.0,
            "MiB",
            Goals {
                first: "",
                goal: "<= 20",
            },
        );
    }
    Ok(())
}

/// Queues so many commands in one call, waits for the end of all of them, and returns tasks a second.
fn rate_of(mesh: &Mesh<'_>, tasks: usize) -> Result<f64, Failed> {
    let input = (0..tasks).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    let began = Instant::now();
    let (group, _) = mesh.aque(0, &["xargs", "-n", "1", "/bin/true"], &input)?;
    mesh.node(0)
        .wire()?
        .ask("wait", &json!({ "ids": [group] }))?;
    Ok(number(tasks) / began.elapsed().as_secs_f64())
}

fn cpu_of(mesh: &Mesh<'_>) -> Result<f64, Failed> {
    mesh.nodes().iter().map(|node| Ok(node.usage()?.cpu)).sum()
}

fn median_of(
    repeats: usize,
    mut measure: impl FnMut() -> Result<f64, Failed>,
) -> Result<f64, Failed> {
    let mut values = (0..repeats)
        .map(|_| measure())
        .collect::<Result<Vec<f64>, _>>()?;
    values.sort_unstable_by(f64::total_cmp);
    values
        .get(repeats / 2)
        .copied()
        .ok_or_else(|| "nothing was measured".into())
}

pub(super) fn times_of(
    samples: usize,
    mut measure: impl FnMut() -> Result<Duration, Failed>,
) -> Result<Vec<Duration>, Failed> {
    let mut times = (0..samples)
        .map(|_| measure())
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(times)
}

/// Returns the value below which so many per cent of the sorted times lie, milliseconds.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(place)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

fn number(value: usize) -> f64 {
    count(u64::try_from(value).unwrap_or(u64::MAX))
}
