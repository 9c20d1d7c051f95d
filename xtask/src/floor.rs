//! The floor: what the machine itself needs to spawn and wait for a process, from a small process with two slots.

use std::process::Command;
use std::thread;
use std::time::Instant;

/// Spawns `/bin/true` `count` times from two threads and prints the rate, processes a second.
pub(crate) fn run(count: u32) -> Result<(), Vec<String>> {
    let began = Instant::now();
    let slots: Vec<_> = (0..2)
        .map(|slot| thread::spawn(move || spawn(count / 2 + slot % 2 * (count % 2))))
        .collect();
    for slot in slots {
        match slot.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(vec![format!("floor: /bin/true: {error}")]),
            Err(_) => return Err(vec!["floor: a slot panicked".to_owned()]),
        }
    }
    println!("{}", f64::from(count) / began.elapsed().as_secs_f64());
    Ok(())
}

fn spawn(count: u32) -> std::io::Result<()> {
    for _ in 0..count {
        Command::new("/bin/true").status()?;
    }
    Ok(())
}
