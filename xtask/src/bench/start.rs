//! What the client itself takes: by the clock, beside a program that does nothing, and in instructions, which no load on the machine
//! changes.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::measures::{percentile, times_of};
use super::mesh::{Mesh, Programs, count};
use super::table::{Goals, Table};
use super::{Failed, Size};

/// Calls of which one asks nobody, and the others a node of which nothing else is wanted.
const CALLS: [&[&str]; 4] = [
    &["--version"],
    &["--help"],
    &["status"],
    &["submit", "true"],
];

/// From the start of the client to its end.
pub(crate) fn start_up(programs: &Programs, size: Size, table: &mut Table) -> Result<(), Failed> {
    let mesh = Mesh::start(programs, 1, 0)?;
    let mut goals = Goals {
        first: "",
        goal: "",
    };
    let nothing = time_of(size.samples, &["/bin/true".into()])?;
    table.add("/bin/true: start to end, median", nothing, "ms", goals);
    goals.goal = "< 10";
    for call in CALLS {
        let mut words: Vec<OsString> = vec![programs.aque.clone().into(), "--node".into()];
        words.push(mesh.node(0).socket().into());
        words.extend(call.iter().map(OsString::from));
        let name = call.join(" ");
        let took = time_of(size.samples, &words)?;
        let label = format!("aque {name}: start to end, median");
        table.add(&label, took, "ms", goals);
        if let Some(executed) = instructions(&words)? {
            let goals = Goals {
                first: "",
                goal: "<= 3.5",
            };
            let millions = count(executed) / 1e6;
            let label = format!("aque {name}: instructions");
            table.add(&label, millions, "millions", goals);
        }
    }
    Ok(())
}

fn time_of(samples: usize, words: &[OsString]) -> Result<f64, Failed> {
    let times = times_of(samples, || {
        let began = Instant::now();
        let ended = Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .status()?;
        match ended.success() {
            true => Ok(began.elapsed()),
            false => Err(format!("{words:?} ended with {ended}").into()),
        }
    })?;
    Ok(percentile(&times, 50))
}

/// Counts the instructions of a call; nothing, with a word about it, where there is no valgrind.
fn instructions(words: &[OsString]) -> Result<Option<u64>, Failed> {
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(words)
        .output();
    let said = match counted {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("bench:   no valgrind: instructions are not counted");
            return Ok(None);
        }
        counted => String::from_utf8_lossy(&counted?.stderr).into_owned(),
    };
    let figure = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, figure) = figure.ok_or_else(|| format!("valgrind counts nothing: {said}"))?;
    Ok(Some(figure.trim().parse()?))
}
