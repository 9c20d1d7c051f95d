//! A run's life when all goes well: what it gets, what it leaves, what is reported.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use node::clock::boottime;
use node::executor::{Environment, ExecError, ExecEvent};
use node::guard::{Cause, How, Refusal, RunKey, Sink, Stdin};

use crate::rig::{Rig, until, within};

#[tokio::test]
async fn exit_code_and_outputs_are_reported() {
    let mut rig = Rig::new().await;
    let before = boottime();
    let ended = rig.run(1, "echo out; echo error >&2; exit 3").await;
    assert_eq!((ended.how, ended.cause), (How::Exited(3), Cause::ByItself));
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (4, 6));
    assert_eq!(rig.output(1), "out\n");
    assert!(before <= ended.started_at && ended.started_at <= ended.ended_at);
    let mode = rig.path("1.out").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(rig.executor.live(), 0);
}

#[tokio::test]
async fn files_of_empty_outputs_are_removed() {
    let mut rig = Rig::new().await;
    let ended = rig.run(1, "cat").await;
    assert_eq!((ended.how, ended.stdout_bytes), (How::Exited(0), 0));
    assert!(!rig.path("1.out").exists() && !rig.path("1.err").exists());
    let mut order = rig.script(2, "cat");
    order.stdout = Sink::Captured("/dev/null".into());
    order.stderr = order.stdout.clone();
    rig.executor.order(order).unwrap();
    rig.started().await;
    rig.ended().await;
    assert!(std::path::Path::new("/dev/null").exists());
}

#[tokio::test]
async fn both_outputs_in_one_file_keep_their_order() {
    let mut rig = Rig::new().await;
    let mut order = rig.script(1, "echo a; echo b >&2; echo c");
    order.stderr.clone_from(&order.stdout);
    rig.executor.order(order).unwrap();
    rig.started().await;
    let ended = rig.ended().await;
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (6, 0));
    assert_eq!(rig.output(1), "a\nb\nc\n");
}

#[tokio::test]
async fn input_comes_from_a_file() {
    let mut rig = Rig::new().await;
    std::fs::write(rig.path("in"), "hello").unwrap();
    let mut order = rig.script(1, "cat");
    order.stdin = Stdin::File(rig.path("in").into_os_string().into_encoded_bytes());
    rig.executor.order(order).unwrap();
    rig.started().await;
    rig.ended().await;
    assert_eq!(rig.output(1), "hello");
}

#[tokio::test]
async fn input_may_be_given_as_bytes() {
    let mut rig = Rig::new().await;
    for (key, text) in [(1, String::new()), (2, "x\n".repeat(40_000))] {
        let mut order = rig.script(key, "cat");
        order.stdin = Stdin::Bytes(text.clone().into_bytes());
        rig.executor.order(order).unwrap();
        rig.started().await;
        let ended = rig.ended().await;
        assert_eq!(ended.stdout_bytes, text.len() as u64);
    }
    assert_eq!(rig.output(2), "x\n".repeat(40_000));
}

#[tokio::test]
async fn a_run_may_write_to_files_of_its_own() {
    let mut rig = Rig::new().await;
    std::fs::write(rig.path("own"), "what was there").unwrap();
    let mut order = rig.script(1, "echo out; echo error >&2");
    // Relative to the working directory.
    order.stdout = Sink::File("own".into());
    rig.executor.order(order).unwrap();
    rig.started().await;
    let ended = rig.ended().await;
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (0, 6));
    assert_eq!(std::fs::read(rig.path("own")).unwrap(), b"out\n");
    // An empty one stays: it is the run's.
    let mut order = rig.script(2, "true");
    order.stdout = Sink::File("own".into());
    order.stderr = order.stdout.clone();
    rig.executor.order(order).unwrap();
    rig.started().await;
    rig.ended().await;
    assert_eq!(std::fs::read(rig.path("own")).unwrap(), b"");
}

#[tokio::test]
async fn a_run_finds_its_environment_and_nothing_else() {
    let mut rig = Rig::new().await;
    let vars = [("PATH", "/usr/bin:/bin"), ("A", "shared"), ("B", "shared")];
    let vars = vars
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
    let env = Arc::new(Environment::new(vars));
    for key in 1..=2 {
        let mut order = rig.script(key, "");
        order.argv = vec![b"env".to_vec()];
        order.env = Arc::clone(&env);
        order.extra = vec![(b"B".to_vec(), key.to_string().into_bytes())];
        rig.executor.order(order).unwrap();
        rig.started().await;
        rig.ended().await;
        let text = rig.output(key);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "A=shared");
        assert!(lines[1].starts_with("AQUE_RUN_MARK="));
        assert_eq!(lines[2], format!("B={key}"));
        assert_eq!(lines[3], "PATH=/usr/bin:/bin");
    }
}

#[tokio::test]
async fn a_run_begins_with_a_clean_slate() {
    let mut rig = Rig::new().await;
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; \
                  cut -d' ' -f1,5,6 /proc/$$/stat; pwd; nice";
    let mut order = rig.script(1, script);
    order.nice = 7;
    rig.executor.order(order).unwrap();
    let (_, pid) = rig.started().await;
    rig.ended().await;
    let text = rig.output(1);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[..2] {
        let (_, mask) = line.split_once('\t').unwrap();
        // Signals 32 and 33 belong to the C library, which lets nobody touch them.
        let mask = u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31);
        assert_eq!(mask, 0, "{line}");
    }
    assert_eq!(
        lines[2],
        format!("{pid} {pid} {pid}"),
        "it leads its group and its session"
    );
    assert_eq!(lines[3], rig.temp.path().to_str().unwrap());
    // On top of that of whoever runs the tests.
    let own = std::process::Command::new("nice").output().unwrap().stdout;
    let own: i32 = String::from_utf8(own).unwrap().trim().parse().unwrap();
    assert_eq!(lines[4], (own + 7).min(19).to_string());
    let mut order = rig.script(2, "");
    order.argv = vec![b"ls".to_vec(), b"/proc/self/fd".to_vec()];
    rig.executor.order(order).unwrap();
    rig.started().await;
    rig.ended().await;
    // The last is that of the directory that is listed.
    assert_eq!(rig.output(2), "0\n1\n2\n3\n");
}

#[tokio::test]
async fn usage_is_that_of_the_run() {
    let mut rig = Rig::new().await;
    let ended = rig
        .run(1, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
        .await;
    assert!(
        ended.usage.utime_us > 0 && ended.usage.max_rss_kib > 100,
        "{:?}",
        ended.usage
    );
    let idle = rig.run(2, "true").await;
    assert!(idle.usage.utime_us < ended.usage.utime_us);
}

#[tokio::test]
async fn what_cannot_be_started_is_told_in_words() {
    let mut rig = Rig::new().await;
    std::fs::write(rig.path("plain"), "x").unwrap();
    std::fs::write(rig.path("orphan"), "#!/no/such/interpreter\n").unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(rig.path("orphan"), executable).unwrap();
    let program = |name: &str| vec![rig.path(name).into_os_string().into_encoded_bytes()];
    let base = rig.script(0, "true");
    let mut rows = vec![
        (base.clone(), "program frobnicate: not found in PATH"),
        (base.clone(), "not executable"),
        (base.clone(), "if it is a script, its interpreter"),
        (base.clone(), "working directory /no/such: does not exist"),
        (base.clone(), "input file /no/such: does not exist"),
        (base.clone(), "output file /no/such/out: does not exist"),
        (base.clone(), "output file /no/such/err: does not exist"),
        (
            base.clone(),
            "arguments and environment together are too long",
        ),
        (base, "there is no program"),
    ];
    rows[0].0.argv = vec![b"frobnicate".to_vec()];
    rows[1].0.argv = program("plain");
    rows[2].0.argv = program("orphan");
    rows[3].0.cwd = "/no/such".into();
    rows[4].0.stdin = Stdin::File(b"/no/such".to_vec());
    rows[5].0.stdout = Sink::Captured("/no/such/out".into());
    rows[6].0.stderr = Sink::File("/no/such/err".into());
    rows[7].0.argv = vec![b"true".to_vec(), vec![b'x'; 200 << 10]];
    rows[8].0.argv = Vec::new();
    for (key, (mut order, text)) in (1..).zip(rows) {
        order.key = RunKey(key);
        rig.executor.order(order).unwrap();
        let why = rig.refused().await.to_string();
        assert!(why.contains(text), "{why:?} instead of {text:?}");
    }
    assert_eq!(rig.run(99, "true").await.how, How::Exited(0));
}

#[tokio::test]
async fn a_script_without_interpreter_is_run_by_the_shell() {
    let mut rig = Rig::new().await;
    std::fs::write(rig.path("bare"), "echo \"$0 $1\"\n").unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(rig.path("bare"), executable).unwrap();
    let mut order = rig.script(1, "");
    order.argv = vec![b"./bare".to_vec(), b"arg".to_vec()];
    rig.executor.order(order).unwrap();
    rig.started().await;
    rig.ended().await;
    assert_eq!(rig.output(1), "./bare arg\n");
}

#[tokio::test]
async fn many_runs_at_once() {
    let mut rig = Rig::new().await;
    for key in 0..200 {
        rig.order(key, "echo $PPID; exit $((PPID % 7))");
    }
    let (mut started, mut ended) = (0, 0);
    while ended < 200 {
        match rig.event().await {
            ExecEvent::Started { .. } => started += 1,
            ExecEvent::Ended(end) => {
                assert_eq!(end.how, How::Exited(rig.guard() % 7));
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((started, rig.executor.live()), (200, 0));
}

#[tokio::test]
async fn the_desk_has_limits() {
    let rig = Rig::new().await;
    rig.order(0, "sleep 1000");
    let again = rig.executor.order(rig.script(0, "true"));
    assert!(matches!(again, Err(ExecError::KeyInUse(RunKey(0)))));
    let mut huge = rig.script(1, "true");
    huge.argv.push(vec![b'x'; 8 << 20]);
    assert!(matches!(
        rig.executor.order(huge),
        Err(ExecError::TooLarge(_))
    ));
    for key in 1..512 {
        rig.order(key, "sleep 1000");
    }
    let more = rig.executor.order(rig.script(512, "true"));
    assert!(matches!(more, Err(ExecError::Full(512))));
}

#[tokio::test]
async fn shutdown_asks_first_and_kills_then() {
    let mut rig = Rig::new().await;
    rig.order(
        1,
        "trap 'exit 7' TERM; echo $$ > $D/polite; while :; do sleep 0.01; done",
    );
    rig.order(
        2,
        "trap '' TERM; echo $$ > $D/stubborn; while :; do sleep 0.01; done",
    );
    for name in ["polite", "stubborn"] {
        rig.number(name).await;
    }
    rig.started().await;
    rig.started().await;
    let Rig {
        executor, events, ..
    } = &mut rig;
    // The guard stays until both ends have been forgotten.
    let mut ends = Vec::new();
    let take_ends = async {
        while ends.len() < 2 {
            if let Some(ExecEvent::Ended(end)) = events.recv().await {
                executor.forget(end.key);
                ends.push(end);
            }
        }
    };
    within(async { tokio::join!(executor.shutdown(Duration::from_millis(500)), take_ends) }).await;
    let (first, second) = (ends[0], ends[1]);
    assert_eq!(
        (first.key, first.how, first.cause),
        (RunKey(1), How::Exited(7), Cause::Asked)
    );
    assert_eq!((second.key, second.cause), (RunKey(2), Cause::Asked));
    assert!(matches!(second.how, How::Signalled { signo: 9, .. }));
    assert!(matches!(
        rig.executor.order(rig.script(3, "true")),
        Err(ExecError::Closed)
    ));
    until(|| rig.events.is_closed()).await;
    assert!(
        !rig.path("data/runs/live").exists(),
        "an orderly end leaves no records"
    );
}

#[tokio::test]
async fn who_is_in_a_hurry_asks_again() {
    let mut rig = Rig::new().await;
    rig.order(
        1,
        "trap '' TERM; echo $$ > $D/stubborn; while :; do sleep 0.01; done",
    );
    rig.number("stubborn").await;
    rig.started().await;
    let Rig {
        executor, events, ..
    } = &mut rig;
    let end = async {
        loop {
            if let Some(ExecEvent::Ended(end)) = events.recv().await {
                executor.forget(end.key);
                return end;
            }
        }
    };
    let patient = executor.shutdown(Duration::from_secs(100_000));
    let hasty = executor.shutdown(Duration::ZERO);
    let ((), (), end) = within(async { tokio::join!(patient, hasty, end) }).await;
    assert!(matches!(end.how, How::Signalled { signo: 9, .. }));
}

#[tokio::test]
async fn a_guard_that_cannot_be_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    for (program, text) in [
        ("/no/such", "cannot be started"),
        ("/bin/true", "said nothing"),
    ] {
        let mut config = crate::rig::config(temp.path());
        config.program = node::executor::Program::At(program.into());
        let error = node::executor::Executor::start(config)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    }
    let rig = Rig::at(Arc::new(temp)).await;
    assert_eq!(rig.executor.live(), 0);
    let refusal = Refusal::ShuttingDown.to_string();
    assert_eq!(refusal, "the node is shutting down");
}
