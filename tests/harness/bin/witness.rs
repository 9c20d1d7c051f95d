//! The work of tasks in tests: writes down its own life, in lines that a judge reads. `witness FILE MODE [ARGUMENT]`.
//!
//! Each line is one write to a file opened with `O_APPEND`, so lines of all runs on all hosts stand whole beside each other; its
//! instant is `CLOCK_BOOTTIME`, which neither jumps nor stops. The format is that of `tests::evidence`.

#![expect(clippy::print_stderr, reason = "a program for the terminal")]

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tests::evidence::{BEAT, now};

fn main() -> ExitCode {
    match live(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("witness: {error}");
            ExitCode::FAILURE
        }
    }
}

fn live(args: &[String]) -> io::Result<()> {
    let [file, mode, rest @ ..] = args else {
        return Err(io::Error::other("usage: witness FILE MODE [ARGUMENT]"));
    };
    let argument = rest.first().map_or("", String::as_str);
    let mut record = File::options().append(true).open(file)?;
    let mut say = |word| record.write_all(line(word)?.as_bytes());
    say("start")?;
    match mode.as_str() {
        "brief" => {}
        "beats" => {
            for _ in 0..argument.parse().map_err(io::Error::other)? {
                thread::sleep(BEAT);
                say("beat")?;
            }
        }
        "until" => {
            while !Path::new(argument).exists() {
                thread::sleep(BEAT);
                say("beat")?;
            }
        }
        "file" => io::stdout().write_all(&fs::read(argument)?)?,
        other => return Err(io::Error::other(format!("no mode {other}"))),
    }
    say("end")
}

fn line(word: &str) -> io::Result<String> {
    let var = |name: &str| env::var(name).map_err(|_| io::Error::other(format!("no {name}")));
    let (task, epoch, host) = (var("AQUE_TID")?, var("AQUE_EPOCH")?, var("AQUE_HOST")?);
    let (at, pid) = (Duration::as_nanos(&now()), std::process::id());
    Ok(format!("{word} {task} {epoch} {host} {at} {pid}\n"))
}
