//! How close the guard comes to the floor: runs of `/bin/true` in 2 slots, through the executor and
//! its guard (outputs captured in files), beside `posix_spawn` and `wait` in a bare loop of a small
//! process.
//!
//! `cargo run --release -p node --example spawn_floor [RUNS] [CGROUPS]`: prints the median ratio of five
//! rounds, taken in turns since the machine may be shared, and the processor time of each.

#![expect(
    clippy::print_stdout,
    reason = "this is a program that prints a measurement"
)]

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use node::executor::{
    Beginning, Environment, ExecConfig, ExecEvent, Executor, GuardState, Order, Patience, Program,
};
use node::guard::{Bounds, Cgroups, Label, RunKey, Sink, Stdin};

const SLOTS: usize = 2;
const ROUNDS: usize = 5;
const FLOOR: &str = "floor";

type Any = Box<dyn Error>;

fn main() -> Result<ExitCode, Any> {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().map(|arg| arg.to_string_lossy().into_owned());
    let count = |arg: Option<&str>| arg.and_then(|arg| arg.parse().ok()).unwrap_or(1000_usize);
    match first.as_deref() {
        Some(node::guard::VERB) => Ok(node::guard::main(args)),
        Some(FLOOR) => {
            let runs = args.next().map(|arg| arg.to_string_lossy().into_owned());
            floor_here(count(runs.as_deref()))?;
            Ok(ExitCode::SUCCESS)
        }
        runs => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let cgroups = args.next().map(|arg| arg.to_string_lossy().into_owned());
            let cgroups = Cgroups::from_str(cgroups.as_deref().unwrap_or("auto"), false)?;
            runtime.block_on(compare(count(runs), cgroups))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn compare(runs: usize, cgroups: Cgroups) -> Result<(), Any> {
    let temp = tempfile::tempdir()?;
    let data = temp.path().join("data");
    let config = ExecConfig {
        data,
        program: Program::This,
        patience: Patience::with_lease(Duration::from_secs(6), Duration::from_millis(300)),
        cgroups,
        max_runs: 64,
    };
    let Beginning {
        executor,
        mut events,
        ..
    } = Executor::start(config).await?;
    let (mut ratios, mut next) = (Vec::new(), 0);
    for round in 1..=ROUNDS {
        let (floor, floor_cpu) = timed(|| {
            Command::new("/proc/self/exe")
                .args([FLOOR, &runs.to_string()])
                .status()?;
            Ok(())
        })?;
        let (cpu, start) = (all_cpu(&executor)?, Instant::now());
        through_guard(&executor, &mut events, temp.path(), runs, &mut next).await?;
        let (ours, ours_cpu) = (start.elapsed(), all_cpu(&executor)? - cpu);
        ratios.push(floor.as_secs_f64() / ours.as_secs_f64());
        println!(
            "round {round}: floor {:.0}/s {:.3} ms CPU, guard {:.0}/s {:.3} ms CPU",
            per_second(runs, floor),
            per_run(runs, floor_cpu),
            per_second(runs, ours),
            per_run(runs, ours_cpu),
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("runs held by {:?}", executor.trees());
    println!("guard at {:.2} of the floor (median)", ratios[ROUNDS / 2]);
    if let GuardState::Working(pid) = executor.guard() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let sizes = status
            .lines()
            .filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS"));
        println!("guard's memory: {}", sizes.collect::<Vec<_>>().join(", "));
    }
    executor.shutdown(Duration::ZERO).await;
    Ok(())
}

async fn through_guard(
    executor: &Executor,
    events: &mut tokio::sync::mpsc::Receiver<ExecEvent>,
    temp: &std::path::Path,
    runs: usize,
    next: &mut u64,
) -> Result<(), Any> {
    let env = Arc::new(Environment::new(vec![(
        b"PATH".into(),
        b"/usr/bin:/bin".into(),
    )]));
    let (mut ordered, mut ended) = (0, 0);
    while ended < runs {
        while ordered < runs && ordered - ended < SLOTS {
            *next += 1;
            executor.order(Order {
                key: RunKey(*next),
                label: Label::default(),
                memo: Vec::new(),
                argv: vec![b"/bin/true".into()],
                env: Arc::clone(&env),
                extra: Vec::new(),
                cwd: "/".into(),
                stdin: Stdin::Null,
                stdout: Sink::Captured(temp.join(format!("{next}.out"))),
                stderr: Sink::Captured(temp.join(format!("{next}.err"))),
                deadline: node::clock::boottime() + Duration::from_secs(60),
                nice: 0,
                bounds: Bounds::default(),
                person: None,
            })?;
            ordered += 1;
        }
        match events.recv().await {
            Some(ExecEvent::Ended(end)) => {
                executor.forget(end.key);
                ended += 1;
            }
            Some(ExecEvent::Started { .. }) => {}
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(())
}

/// The bare loop, in a process of its own.
fn floor_here(runs: usize) -> Result<(), Any> {
    let mut children = std::collections::VecDeque::new();
    for _ in 0..runs {
        if children.len() == SLOTS {
            children
                .pop_front()
                .map(|mut child: std::process::Child| child.wait())
                .transpose()?;
        }
        let mut command = Command::new("/bin/true");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        children.push_back(command.spawn()?);
    }
    children
        .into_iter()
        .try_for_each(|mut child| child.wait().map(drop))?;
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), Any>) -> Result<(Duration, f64), Any> {
    let (cpu, start) = (cpu_of(std::process::id(), Whose::Children)?, Instant::now());
    work()?;
    Ok((
        start.elapsed(),
        cpu_of(std::process::id(), Whose::Children)? - cpu,
    ))
}

/// Seconds of this process, the guard and the guard's children.
fn all_cpu(executor: &Executor) -> Result<f64, Any> {
    let GuardState::Working(guard) = executor.guard() else {
        return Err("no guard".into());
    };
    let own = cpu_of(std::process::id(), Whose::Own)?;
    Ok(own + cpu_of(guard, Whose::Own)? + cpu_of(guard, Whose::Children)?)
}

#[derive(Clone, Copy)]
enum Whose {
    Own,
    Children,
}

/// Seconds of processor time by `/proc`, in ticks of 10 ms.
fn cpu_of(pid: u32, whose: Whose) -> Result<f64, Any> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let first = match whose {
        Whose::Own => 11,
        Whose::Children => 13,
    };
    let ticks: f64 = fields[first..first + 2]
        .iter()
        .map(|t| t.parse().unwrap_or(0.0))
        .sum();
    Ok(ticks / 100.0)
}

fn per_second(runs: usize, took: Duration) -> f64 {
    count(runs) / took.as_secs_f64()
}

fn per_run(runs: usize, seconds: f64) -> f64 {
    seconds * 1000.0 / count(runs)
}

fn count(runs: usize) -> f64 {
    u32::try_from(runs).map_or(f64::INFINITY, f64::from)
}
