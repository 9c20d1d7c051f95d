//! What is told of a world in which a promise was broken: the promise, the seed, the commit, the last steps, and the whole
//! timeline as text and picture.

use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use sim::scenario::CONTROLS;
use sim::swarm::{self, Drawn};
use sim::timeline::Keep;
use sim::world::{Setup, World};

/// So many of the last steps are printed.
const LAST_STEPS: usize = 20;

/// Tells of a swarm seed that broke a promise, or panicked.
pub(crate) fn tell(out: &mut impl Write, seed: u64, dir: &Path) -> io::Result<()> {
    let again = format!("cargo run --release -p sim -- replay {seed} --trace");
    let played = catch_unwind(AssertUnwindSafe(|| swarm::play(seed, Keep::Everything)));
    let Ok(world) = played else {
        return writeln!(out, "seed {seed}: panic, at commit {}\n  {again}", commit());
    };
    show(out, &world, &format!("seed-{seed}"), dir)?;
    writeln!(
        out,
        "  {again}\n  cargo run --release -p sim -- shrink {seed}"
    )
}

/// Prints the broken promise and the last steps, and writes the timeline.
fn show(out: &mut impl Write, world: &World, name: &str, dir: &Path) -> io::Result<()> {
    let broken = world.oracle().violation();
    let broken = broken.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    writeln!(out, "{name}, at commit {}: {broken}", commit())?;
    let steps = world.timeline().to_text(world.hosts(), LAST_STEPS);
    for line in steps.lines() {
        writeln!(out, "  {line}")?;
    }
    fs::create_dir_all(dir)?;
    let (text, picture) = (
        dir.join(format!("{name}.txt")),
        dir.join(format!("{name}.svg")),
    );
    let all = world.timeline().to_text(world.hosts(), usize::MAX);
    fs::write(&text, all)?;
    super::draw(&picture, world)?;
    writeln!(
        out,
        "  timeline: {} and {}",
        text.display(),
        picture.display()
    )
}

/// Shrinks a seed and shows what is left. Says whether there was something to shrink.
pub(crate) fn shrink(
    out: &mut impl Write,
    seed: u64,
    rule: Option<&str>,
    budget: usize,
    dir: &Path,
) -> io::Result<bool> {
    let alter = match rule {
        None => |setup| setup,
        Some(name) => match CONTROLS.iter().find(|control| control.name == name) {
            Some(control) => control.breaks,
            None => {
                let names: Vec<&str> = CONTROLS.iter().map(|control| control.name).collect();
                writeln!(out, "no such rule; there are: {}", names.join(", "))?;
                return Ok(false);
            }
        },
    };
    let Some(shrunk) = swarm::shrink(seed, alter, budget) else {
        writeln!(out, "seed {seed} breaks no promise")?;
        return Ok(false);
    };
    let before = swarm::draw(seed);
    tell_size(out, "drawn ", &before)?;
    tell_size(out, "shrunk", &shrunk.drawn)?;
    for (at, host, batch) in &shrunk.drawn.work {
        writeln!(
            out,
            "  {:9.6} s  h{host} takes {} tasks",
            at.as_secs_f64(),
            batch.len()
        )?;
    }
    for (at, deed) in &shrunk.drawn.deeds {
        writeln!(out, "  {:9.6} s  {deed:?}", at.as_secs_f64())?;
    }
    writeln!(out, "{} worlds were played", shrunk.tries)?;
    let world = swarm::play_drawn(&shrunk.drawn, |setup| Setup {
        keep: Keep::Everything,
        ..alter(setup)
    });
    show(out, &world, &format!("shrunk-{seed}"), dir)?;
    Ok(true)
}

fn tell_size(out: &mut impl Write, what: &str, drawn: &Drawn) -> io::Result<()> {
    let tasks: usize = drawn.work.iter().map(|(_, _, batch)| batch.len()).sum();
    let spite = if drawn.spite > 0 { " and spite" } else { "" };
    writeln!(
        out,
        "{what}: {} hosts, {tasks} tasks, {} faults{spite} in {:.3} s",
        drawn.setup.hosts,
        drawn.deeds.len(),
        drawn.calm_at.as_secs_f64()
    )
}

/// The commit that is checked out, where git knows.
fn commit() -> String {
    let asked = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    asked
        .ok()
        .filter(|done| done.status.success())
        .and_then(|done| String::from_utf8(done.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
