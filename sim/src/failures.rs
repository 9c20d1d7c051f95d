//! What is told of a world in which a promise was broken: the promise, the seed, the commit, the last steps, and the whole
//! timeline as text and picture.

use std::any::Any;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use sim::scenario;
use sim::swarm::{self, Drawn, Size};
use sim::timeline::Keep;
use sim::world::{Setup, World};

/// So many of the last steps are printed.
const LAST_STEPS: usize = 20;

/// Tells of a swarm seed that broke a promise, or panicked.
pub(crate) fn tell(out: &mut impl Write, seed: u64, dir: &Path) -> io::Result<()> {
    let drawn = swarm::draw(seed);
    play_and_show(out, &drawn, |setup| setup, &format!("seed-{seed}"), dir)?;
    writeln!(
        out,
        "  again : cargo run --release -p sim -- replay {seed} --trace\n  \
         shrink: cargo run --release -p sim -- shrink {seed}"
    )
}

/// Plays a history and shows what is wrong with it; a world that panics is shown as far as it came.
fn play_and_show(
    out: &mut impl Write,
    drawn: &Drawn,
    alter: fn(Setup) -> Setup,
    name: &str,
    dir: &Path,
) -> io::Result<()> {
    let mut world = World::new(Setup {
        keep: Keep::Everything,
        ..alter(drawn.setup.clone())
    });
    let lived = catch_unwind(AssertUnwindSafe(|| swarm::live(&mut world, drawn, None)));
    let wrong = match (lived, world.oracle().violation()) {
        (Err(panic), _) => format!("panic: {}", words(panic.as_ref())),
        (Ok(_), Some(broken)) => format!("broken: {}\n  {broken}", broken.judge.promise()),
        (Ok(_), None) => "nothing is wrong".to_owned(),
    };
    writeln!(
        out,
        "{name} (seed {}, commit {}): {wrong}",
        drawn.setup.seed,
        commit()
    )?;
    show(out, &world, name, dir)
}

/// Returns what a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

/// Prints the last steps, and writes the timeline.
fn show(out: &mut impl Write, world: &World, name: &str, dir: &Path) -> io::Result<()> {
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
        Some(name) => match scenario::controls().find(|control| control.name == name) {
            Some(control) => control.breaks,
            None => {
                let names: Vec<&str> = scenario::controls().map(|control| control.name).collect();
                writeln!(out, "no such rule; there are: {}", names.join(", "))?;
                return Ok(false);
            }
        },
    };
    let Some(shrunk) = swarm::shrink(seed, alter, budget) else {
        writeln!(out, "seed {seed} breaks no promise")?;
        return Ok(false);
    };
    writeln!(out, "seed {seed}: {}", shrunk.wrong)?;
    tell_size(out, "drawn ", &swarm::draw(seed))?;
    tell_size(out, "shrunk", &shrunk.drawn)?;
    tell_plan(out, &shrunk.drawn)?;
    writeln!(out, "{} worlds were played", shrunk.tries)?;
    play_and_show(out, &shrunk.drawn, alter, &format!("shrunk-{seed}"), dir)?;
    Ok(true)
}

fn tell_size(out: &mut impl Write, what: &str, drawn: &Drawn) -> io::Result<()> {
    let size = Size::of(drawn);
    let spite = if drawn.spite > 0 { " and spite" } else { "" };
    writeln!(
        out,
        "{what}: {} hosts, {} tasks, {} faults{spite} in {:.3} s",
        size.hosts,
        size.tasks,
        size.deeds,
        size.lasts.as_secs_f64()
    )
}

/// Prints what is done, in order.
fn tell_plan(out: &mut impl Write, drawn: &Drawn) -> io::Result<()> {
    let work = drawn
        .work
        .iter()
        .map(|(at, host, batch)| (*at, format!("h{host} takes {} tasks", batch.len())));
    let deeds = drawn
        .deeds
        .iter()
        .map(|(at, deed)| (*at, format!("{deed:?}")));
    let mut steps: Vec<_> = work.chain(deeds).collect();
    steps.sort_by_key(|(at, _)| *at);
    steps.push((drawn.calm_at, "all faults end".to_owned()));
    for (at, what) in steps {
        writeln!(out, "  {:10.6} s  {what}", at.as_secs_f64())?;
    }
    Ok(())
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
