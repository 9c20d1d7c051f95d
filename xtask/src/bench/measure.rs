//! The single measurements.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Failed, Mesh};

/// Returns spawn-and-wait pairs a second, measured in a small process of its own.
pub(crate) fn floor(count: u32) -> Result<f64, Failed> {
    let program = std::env::current_exe()?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let output = Command::new(&program).args(["floor", &count.to_string()]).output()?;
        rates.push(String::from_utf8_lossy(&output.stdout).trim().parse()?);
    }
    Ok(median(rates))
}

/// Returns tasks a second for `true`, and the CPU milliseconds of nodes and guards (not of the tasks) for each.
pub(crate) fn throughput(mesh: &Mesh, count: u32) -> Result<(f64, f64), Failed> {
    let lines: String = (0..count).map(|n| format!("{n}\n")).collect();
    let all = || (0..mesh.size()).flat_map(|place| mesh.processes(place)).map(cpu).sum::<f64>();
    let (began, before) = (Instant::now(), all());
    mesh.feed(&["xargs", "-n", "1", "-w", "true"], &lines)?;
    let spent = all() - before;
    let tasks = f64::from(count);
    Ok((tasks / began.elapsed().as_secs_f64(), spent * 1_000.0 / tasks))
}

/// Returns the median time of a submission that is answered when it is durable, milliseconds.
pub(crate) fn submit_latency(mesh: &Mesh, rounds: u32) -> Result<f64, Failed> {
    timed(rounds, || mesh.aque(0, &["submit", "true"]).map(|_| ()))
}

/// Returns the median time of a status, milliseconds.
pub(crate) fn status_time(mesh: &Mesh, rounds: u32) -> Result<f64, Failed> {
    timed(rounds, || mesh.aque(0, &["status"]).map(|_| ()))
}

/// Returns the seconds to submit so many different commands, and the bytes of memory that each of them holds while it waits.
pub(crate) fn pending(mesh: &Mesh, count: u32) -> Result<(f64, f64), Failed> {
    let lines: String = (0..count).map(|n| format!("frame-{n:06}\n")).collect();
    let before = resident(mesh);
    let began = Instant::now();
    mesh.feed(&["xargs", "-n", "1", "render"], &lines)?;
    Ok((began.elapsed().as_secs_f64(), (resident(mesh) - before) / f64::from(count)))
}

/// Returns the time from a submission to the start of its process, p50 and p99, milliseconds.
pub(crate) fn start_latency(mesh: &Mesh, rounds: u32) -> Result<(f64, f64), Failed> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let file = mesh.dir().join(format!("start-{round}"));
        let script = format!("date +%s%N > '{}.new' && mv '{0}.new' '{0}'", file.display());
        let began = nanos()?;
        let place = usize::try_from(round)? % mesh.size();
        mesh.aque(place, &["submit", "--shell", &script])?;
        mesh.wait_until("the task has started", |_| Ok(file.exists()))?;
        let started: f64 = fs::read_to_string(&file)?.trim().parse()?;
        times.push((started - began) / 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    Ok((at(50), at(99)))
}

/// Returns the share of a core that an idle node takes, percent.
pub(crate) fn idle(mesh: &Mesh) -> Result<f64, Failed> {
    let all = || (0..mesh.size()).flat_map(|place| mesh.processes(place)).map(cpu).sum::<f64>();
    let (began, before) = (Instant::now(), all());
    std::thread::sleep(Duration::from_secs(10));
    let nodes = float(u64::try_from(mesh.size())?);
    Ok((all() - before) / began.elapsed().as_secs_f64() / nodes * 100.0)
}

/// Kills a host that runs a task and returns how long after the lease (6 s) the task starts elsewhere, seconds.
pub(crate) fn take_over(mut mesh: Mesh) -> Result<f64, Failed> {
    let file = mesh.dir().join("runs");
    let script = format!("echo $AQUE_HOST $(date +%s%N) >> '{}'; sleep 600", file.display());
    mesh.aque(0, &["submit", "--shell", &script])?;
    let runs = || -> Vec<(String, f64)> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let parse = |line: &str| {
            let (host, at) = line.split_once(' ')?;
            Some((host.to_owned(), at.parse().ok()?))
        };
        text.lines().filter_map(parse).collect()
    };
    mesh.wait_until("the task runs", |_| Ok(!runs().is_empty()))?;
    let place = runs()[0].0.trim_start_matches('n').parse()?;
    let killed = nanos()?;
    mesh.kill(place)?;
    mesh.wait_until("it runs elsewhere", |_| Ok(runs().len() > 1))?;
    Ok((runs()[1].1 - killed) / 1e9 - 6.0)
}

fn timed(rounds: u32, run: impl Fn() -> Result<(), Failed>) -> Result<f64, Failed> {
    let mut times = Vec::new();
    for _ in 0..rounds.max(3) {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(times))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn nanos() -> Result<f64, Failed> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64() * 1e9)
}

/// Returns a count as a float; those here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "sizes and counts of a measurement")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Returns the CPU seconds of a process itself, its children not counted.
fn cpu(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Returns the resident bytes of the first node.
fn resident(mesh: &Mesh) -> f64 {
    let node = mesh.processes(0)[0];
    let text = fs::read_to_string(format!("/proc/{node}/statm")).unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4_096.0
}
