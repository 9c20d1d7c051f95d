//! An executor with a guard of the real program, in a directory of its own.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node::clock::boottime;
use node::executor::{
    Beginning, Environment, ExecConfig, ExecEvent, Executor, GuardState, Order, Patience, Program,
};
use node::guard::{Bounds, Cgroups, Ended, Found, How, Label, Refusal, RunKey, Sink, Stdin};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::Receiver;

/// Longest that any wait may take before a test is called hung.
const HUNG: Duration = Duration::from_secs(120);

/// A deadline that no test reaches.
pub(crate) const FAR: Duration = Duration::from_secs(3600);

pub(crate) const SIGKILLED: How = How::Signalled {
    signo: 9,
    core: node::guard::Core::None,
};

/// A leader that ignores what can be ignored, with a child in its group and a daemon that left it.
pub(crate) const FAMILY: &str = "trap '' TERM HUP INT; \
    sh -c 'echo $$ > $D/child; exec sleep 1000' & \
    (setsid sh -c 'echo $$ > $D/daemon; exec sleep 1000' &); \
    echo $$ > $D/leader; while :; do sleep 0.01; done";

pub(crate) const MEMBERS: [&str; 3] = ["leader", "child", "daemon"];

pub(crate) async fn family(rig: &Rig) -> Vec<i32> {
    let mut pids = Vec::new();
    for name in MEMBERS {
        pids.push(rig.number(name).await);
    }
    pids
}

pub(crate) struct Rig {
    pub(crate) executor: Executor,
    pub(crate) found: Vec<Found>,
    pub(crate) events: Receiver<ExecEvent>,
    pub(crate) temp: Arc<tempfile::TempDir>,
}

pub(crate) fn config(dir: &Path) -> ExecConfig {
    let program = Program::At(PathBuf::from(env!("CARGO_BIN_EXE_aque-node")));
    ExecConfig {
        data: dir.join("data"),
        program,
        patience: PATIENT,
        cgroups: Cgroups::Auto,
        max_runs: 512,
    }
}

/// Gives up no guard that a test stops, and does nothing in its place.
pub(crate) const PATIENT: Patience = Patience {
    overdue: FAR,
    silence: FAR,
};

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap())).await
    }

    pub(crate) async fn with(patience: Patience) -> Self {
        Self::at_with(Arc::new(tempfile::tempdir().unwrap()), patience).await
    }

    pub(crate) async fn at(temp: Arc<tempfile::TempDir>) -> Self {
        Self::at_with(temp, PATIENT).await
    }

    /// One whose runs are held in this way.
    pub(crate) async fn held(cgroups: Cgroups, patience: Patience) -> Self {
        let temp = Arc::new(tempfile::tempdir().unwrap());
        let config = ExecConfig {
            cgroups,
            patience,
            ..config(temp.path())
        };
        Self::start(temp, config).await
    }

    pub(crate) async fn at_with(temp: Arc<tempfile::TempDir>, patience: Patience) -> Self {
        let config = ExecConfig {
            patience,
            ..config(temp.path())
        };
        Self::start(temp, config).await
    }

    async fn start(temp: Arc<tempfile::TempDir>, config: ExecConfig) -> Self {
        let Beginning {
            executor,
            found,
            events,
        } = Executor::start(config).await.unwrap();
        Self {
            executor,
            found,
            events,
            temp,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// An order of a shell script, whose `$D` is the rig's directory.
    pub(crate) fn script(&self, key: u64, script: &str) -> Order {
        let dir = self.temp.path().to_str().unwrap().as_bytes().to_vec();
        let path = (b"PATH".to_vec(), b"/usr/local/bin:/usr/bin:/bin".to_vec());
        Order {
            key: RunKey(key),
            label: label(key),
            memo: key.to_le_bytes().to_vec(),
            argv: ["sh", "-c", script]
                .map(|arg| arg.as_bytes().to_vec())
                .into(),
            env: Arc::new(Environment::new(vec![path])),
            extra: vec![(b"D".to_vec(), dir)],
            cwd: self.temp.path().to_owned(),
            stdin: Stdin::Null,
            stdout: Sink::Captured(self.path(&format!("{key}.out"))),
            stderr: Sink::Captured(self.path(&format!("{key}.err"))),
            deadline: boottime() + FAR,
            nice: 0,
            bounds: Bounds::default(),
            person: None,
        }
    }

    pub(crate) fn order(&self, key: u64, script: &str) {
        self.executor.order(self.script(key, script)).unwrap();
    }

    pub(crate) async fn event(&mut self) -> ExecEvent {
        within(self.events.recv())
            .await
            .expect("the executor goes on")
    }

    pub(crate) async fn started(&mut self) -> (u64, i32) {
        match self.event().await {
            ExecEvent::Started { key, pid, .. } => (key.0, pid),
            other => panic!("instead of a start: {other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> Refusal {
        match self.event().await {
            ExecEvent::Refused { why, .. } => why,
            other => panic!("instead of a refusal: {other:?}"),
        }
    }

    pub(crate) async fn ended(&mut self) -> Ended {
        match self.event().await {
            ExecEvent::Ended(ended) => {
                self.executor.forget(ended.key);
                ended
            }
            other => panic!("instead of an end: {other:?}"),
        }
    }

    /// Orders a script, expects its start and its end.
    pub(crate) async fn run(&mut self, key: u64, script: &str) -> Ended {
        self.order(key, script);
        assert_eq!(self.started().await.0, key);
        self.ended().await
    }

    pub(crate) fn output(&self, key: u64) -> String {
        std::fs::read_to_string(self.path(&format!("{key}.out"))).unwrap()
    }

    /// Waits until the file that a script writes is there, and returns the number in it.
    pub(crate) async fn number(&self, name: &str) -> i32 {
        let path = self.path(name);
        let read = || {
            let text = std::fs::read_to_string(&path).ok()?;
            text.strip_suffix('\n')?.parse().ok()
        };
        until(|| read().is_some()).await;
        read().unwrap()
    }

    pub(crate) fn guard(&self) -> i32 {
        match self.executor.guard() {
            GuardState::Working(pid) => pid.cast_signed(),
            other => panic!("no guard: {other:?}"),
        }
    }
}

pub(crate) fn label(key: u64) -> Label {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    Label(bytes)
}

/// A guard outlives its executor, but no test: it and all that it started are killed, whatever has become of the test.
impl Drop for Rig {
    fn drop(&mut self) {
        // The last of those that share the directory.
        if Arc::strong_count(&self.temp) == 1 {
            kill_all_below(self.temp.path());
        }
    }
}

/// Kills what bears a directory in its command line or its environment.
pub(crate) fn kill_all_below(directory: &Path) {
    let needle = directory.as_os_str().as_encoded_bytes();
    let own = std::process::id().cast_signed();
    let mentions = |pid: i32| {
        ["cmdline", "environ"].iter().any(|name| {
            let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| *pid != own && mentions(*pid)) {
        // It may have ended meanwhile.
        let _sent = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HUNG, future)
        .await
        .expect("this takes too long")
}

/// Waits until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    within(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is there and no zombie.
pub(crate) fn lives(pid: i32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// Stops a process and waits until all of it stands still.
pub(crate) async fn freeze(pid: i32) {
    signal(pid, Signal::STOP);
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    let tasks = format!("/proc/{pid}/task");
    until(|| std::fs::read_dir(&tasks).unwrap().all(stopped)).await;
}
