//! From an order to what the kernel wants: strings with a zero at their end, and paths to try.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::proc::{MARK_VAR, Mark};
use super::protocol::{EnvId, Refusal, Sink, StartRun, Stdin, Var};
use super::sys::{EnvText, Fault, Input, Output, Plan, Step};

/// Most bytes of defined environments that a guard keeps. A node stays far below; see
/// `executor::environments`.
const ENVIRONMENTS_BYTES: usize = 64 << 20;

/// `PATH` of a run that has none.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What input is called that was given as bytes.
const INPUT_TEXT: &str = "(text)";

/// The environments that the node has defined.
#[derive(Debug, Default)]
pub(super) struct Environments {
    known: BTreeMap<EnvId, Environment>,
    bytes: usize,
}

#[derive(Debug)]
struct Environment {
    vars: Vec<Text>,
    bytes: usize,
}

/// `NAME=value`, and the length of the name.
#[derive(Clone, Debug)]
struct Text {
    name: usize,
    text: EnvText,
}

impl Text {
    fn name(&self) -> &[u8] {
        &self.text.as_bytes()[..self.name]
    }

    fn value(&self) -> &[u8] {
        &self.text.as_bytes()[self.name + 1..]
    }
}

impl Environments {
    /// One environment and no other.
    pub(super) fn of(id: EnvId, vars: &[Var]) -> Self {
        let mut one = Self::default();
        one.define(id, vars);
        one
    }

    /// Returns the variables of an environment, if it is known.
    pub(super) fn vars(&self, id: EnvId) -> Option<Vec<Var>> {
        let known = self.known.get(&id)?;
        let pair = |var: &Text| (var.name().to_vec(), var.value().to_vec());
        Some(known.vars.iter().map(pair).collect())
    }

    /// Keeps an environment. One that makes no sense, or has no room, is not kept: orders that name
    /// it are refused.
    pub(super) fn define(&mut self, id: EnvId, vars: &[Var]) {
        self.forget(id);
        let bytes: usize = vars
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let texts = vars.iter().map(text).collect::<Result<Vec<_>, _>>();
        if let Ok(vars) = texts
            && self.bytes + bytes <= ENVIRONMENTS_BYTES
        {
            self.bytes += bytes;
            self.known.insert(id, Environment { vars, bytes });
        }
    }

    /// Drops an environment.
    pub(super) fn forget(&mut self, id: EnvId) {
        if let Some(old) = self.known.remove(&id) {
            self.bytes -= old.bytes;
        }
    }

    /// Turns an order into a plan.
    ///
    /// # Errors
    /// [`Refusal::BadOrder`].
    pub(super) fn plan(&self, order: &StartRun, mark: Mark) -> Result<Plan, Refusal> {
        let base = self.known.get(&order.env);
        let base = base.ok_or_else(|| bad("its environment is unknown"))?;
        let mut own: BTreeMap<Vec<u8>, Text> = BTreeMap::new();
        for var in &order.extra {
            own.insert(var.0.clone(), text(var)?);
        }
        let mark = text(&(MARK_VAR.into(), mark.text().into_bytes()))?;
        own.insert(MARK_VAR.into(), mark);
        let kept = base.vars.iter().filter(|var| !own.contains_key(var.name()));
        let vars: Vec<Text> = own.values().chain(kept).cloned().collect();
        let argv = order.argv.iter().map(|arg| c_string(arg, "an argument"));
        Ok(Plan {
            programs: programs(order, &vars)?,
            argv: argv.collect::<Result<_, _>>()?,
            env: vars.into_iter().map(|var| var.text).collect(),
            cwd: c_string(&order.cwd, "the working directory")?,
            stdin: match &order.stdin {
                Stdin::Null => Input::Null,
                Stdin::File(path) => Input::Path(c_string(path, "the input's path")?),
                Stdin::Stored(path) => {
                    Input::Path(c_string(path.as_os_str().as_bytes(), "the input's path")?)
                }
                Stdin::Bytes(bytes) => Input::Open(text_file(bytes)?),
            },
            stdout: output(&order.stdout, "the output's path")?,
            stderr: match order.stderr == order.stdout {
                true => None,
                false => Some(output(&order.stderr, "the errors' path")?),
            },
            nice: order.nice,
            deadline: order.deadline,
        })
    }
}

/// The paths at which the program may be: itself if it names a directory, otherwise in each of the
/// run's `PATH`.
fn programs(order: &StartRun, vars: &[Text]) -> Result<Vec<CString>, Refusal> {
    let program = order.argv.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| bad("there is no program"))?;
    if program.contains(&b'/') {
        return Ok(vec![c_string(program, "the program")?]);
    }
    let path = vars
        .iter()
        .find(|var| var.name() == b"PATH")
        .map_or(DEFAULT_PATH, Text::value);
    let candidate = |dir: &[u8]| match dir {
        b"" => c_string(program, "the program"),
        dir => c_string(&[dir, b"/", program].concat(), "the program"),
    };
    path.split(|byte| *byte == b':').map(candidate).collect()
}

/// What a run reads that was given as bytes: a file in memory, at its beginning.
fn text_file(bytes: &[u8]) -> Result<OwnedFd, Refusal> {
    let filled = || -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file.into())
    };
    filled().map_err(|error| Refusal::Stdin {
        path: INPUT_TEXT.to_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })
}

fn output(sink: &Sink, what: &str) -> Result<Output, Refusal> {
    Ok(Output::Path {
        path: c_string(sink.path().as_os_str().as_bytes(), what)?,
        mode: match sink {
            Sink::Captured(_) => 0o600,
            Sink::File(_) => 0o666,
        },
    })
}

fn text((name, value): &Var) -> Result<Text, Refusal> {
    if name.is_empty() || name.contains(&b'=') {
        return Err(bad("a variable's name is empty or contains '='"));
    }
    let joined = [name.as_slice(), b"=", value].concat();
    Ok(Text {
        name: name.len(),
        text: Rc::new(c_string(&joined, "a variable")?),
    })
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, Refusal> {
    CString::new(bytes).map_err(|_| bad(&format!("{what} contains a zero byte")))
}

fn bad(text: &str) -> Refusal {
    Refusal::BadOrder(text.to_owned())
}

/// Says why a run could not be started, in the words of its order.
pub(super) fn refusal(order: &StartRun, fault: Fault) -> Refusal {
    let Fault { step, errno } = fault;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    match step {
        Step::Clone | Step::Group | Step::Parent => Refusal::Process { errno },
        Step::Deadline => Refusal::DeadlinePassed,
        Step::Cwd => Refusal::Cwd {
            path: text(&order.cwd),
            errno,
        },
        Step::Stdin => match &order.stdin {
            Stdin::Null => Refusal::Stdin {
                path: "/dev/null".into(),
                errno,
            },
            Stdin::File(path) => Refusal::Stdin {
                path: text(path),
                errno,
            },
            Stdin::Stored(path) => Refusal::Stdin {
                path: shown(path),
                errno,
            },
            Stdin::Bytes(_) => Refusal::Stdin {
                path: INPUT_TEXT.to_owned(),
                errno,
            },
        },
        Step::Stdout => Refusal::Output {
            path: shown(order.stdout.path()),
            errno,
        },
        Step::Stderr => Refusal::Output {
            path: shown(order.stderr.path()),
            errno,
        },
        Step::Exec => Refusal::Program {
            program: text(order.argv.first().map_or(b"", Vec::as_slice)),
            errno,
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::time::Duration;

    use super::*;
    use crate::guard::protocol::{Bounds, Label, RunKey};

    const MARK: Mark = Mark {
        guard: 1,
        key: RunKey(2),
    };

    fn order(argv: &[&str], extra: &[(&str, &str)]) -> StartRun {
        StartRun {
            key: RunKey(2),
            label: Label::default(),
            memo: Vec::new(),
            argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: EnvId(1),
            extra: extra
                .iter()
                .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
                .collect(),
            cwd: b"/".to_vec(),
            stdin: Stdin::Null,
            stdout: Sink::Captured("/o".into()),
            stderr: Sink::Captured("/e".into()),
            deadline: Duration::MAX,
            nice: 0,
            bounds: Bounds::default(),
            person: None,
        }
    }

    fn environments(vars: &[(&str, &str)]) -> Environments {
        let mut known = Environments::default();
        let vars: Vec<Var> = vars
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        known.define(EnvId(1), &vars);
        known
    }

    #[test]
    fn own_variables_win_and_path_is_the_runs() {
        let known = environments(&[("A", "1"), ("PATH", "/x::/y"), ("B", "2")]);
        let vars = known.vars(EnvId(1)).unwrap();
        assert_eq!(vars[1], (b"PATH".to_vec(), b"/x::/y".to_vec()));
        let plan = known
            .plan(&order(&["prog", "arg"], &[("A", "9")]), MARK)
            .unwrap();
        let env: Vec<_> = plan.env.iter().map(|var| var.to_str().unwrap()).collect();
        let mark = format!("{MARK_VAR}={}", MARK.text());
        assert_eq!(env, ["A=9", mark.as_str(), "PATH=/x::/y", "B=2"]);
        let programs: Vec<_> = plan
            .programs
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(programs, ["/x/prog", "prog", "/y/prog"]);
        let plan = known.plan(&order(&["./prog"], &[]), MARK).unwrap();
        assert_eq!(plan.programs, [c"./prog".to_owned()]);
    }

    #[test]
    fn bad_orders_are_refused() {
        let known = environments(&[]);
        let rows = [
            (order(&[], &[]), "no program"),
            (order(&["a\0b"], &[]), "zero byte"),
            (order(&["a"], &[("x=y", "1")]), "'='"),
            (order(&["a"], &[("", "1")]), "empty"),
            (
                StartRun {
                    env: EnvId(7),
                    ..order(&["a"], &[])
                },
                "unknown",
            ),
        ];
        for (order, text) in rows {
            let refusal = known.plan(&order, MARK).unwrap_err().to_string();
            assert!(refusal.contains(text), "{refusal}");
        }
    }

    #[test]
    fn environments_are_bounded() {
        let mut known = environments(&[("A", "1")]);
        let big = vec![(b"B".to_vec(), vec![b'x'; ENVIRONMENTS_BYTES])];
        known.define(EnvId(2), &big);
        assert_eq!(known.known.len(), 1);
        known.forget(EnvId(1));
        assert_eq!(known.bytes, 0);
    }
}
