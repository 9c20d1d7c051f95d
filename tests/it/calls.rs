//! Functions that are called by name, and scripts that an interpreter runs, on real meshes.

use std::fs;
use std::process::{Command, Stdio};

use tests::{Cluster, Node, Outcome};

use super::lives::wait_reason;
use super::wait_state;

const PYTHON: &str = "
import os, subprocess, sys

def render(width, height=2):
    print('printed by', os.environ.get('WHO'))
    subprocess.run(['echo', 'printed by a child'])
    return {'area': width * height}

class Frames:
    @staticmethod
    def each(*frames):
        return list(frames)

def boom(text):
    raise ValueError(text)

def leave(code):
    sys.exit(code)

def kill():
    os.kill(os.getpid(), 9)

def secret():
    return {1, 2}

def index():
    return [int(os.environ['AQUE_ARRAY_INDEX']), 'AQUE_CALL' in os.environ]

def count():
    return len(sys.stdin.read())

async def later(x):
    return x
";

const NODE: &str = "
exports.render = ({ width, height = 2 }) => {
  console.log('printed by', process.env.WHO);
  require('child_process').execFileSync('echo', ['printed by a child'], { stdio: 'inherit' });
  return { area: width * height };
};
exports.Frames = { each: (...frames) => frames };
exports.boom = (text) => { throw new TypeError(text); };
exports.leave = (code) => process.exit(code);
exports.secret = () => 1n;
exports.later = async (x) => x;
exports.never = () => new Promise(() => {});
exports.count = () => require('fs').readFileSync(0).length;
";

/// A mesh beside the modules, unless there is no such interpreter.
fn beside(interpreter: &str) -> Option<Cluster> {
    let mut version = Command::new(interpreter);
    let version = version.arg("--version").stdout(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        let (what, why) = (format!("a call of {interpreter}"), "it is not installed");
        match interpreter {
            "node" => tests::lan::tell_skipped(&what, why),
            _ => tests::lan::skip(&what, why),
        }
        return None;
    }
    let cluster = Cluster::start(2);
    fs::write(cluster.path("frames.py"), PYTHON).expect("a module is written");
    fs::write(cluster.path("frames.js"), NODE).expect("a module is written");
    fs::write(cluster.path("broken.py"), "import frames\n1 / 0\n").expect("a module is written");
    Some(cluster)
}

/// Calls a function beside the modules, to its end.
fn call(cluster: &Cluster, options: &[&str], function: &str, json: &[&str]) -> Outcome {
    let words = [&["submit", "-w"], options, &["--call", function], json].concat();
    cluster[0].aque(&words).dir(cluster.dir()).run()
}

/// How the newest task of a node ended.
fn last(node: &Node) -> (String, Option<i32>, u32) {
    let id = node.ok(&["show", "--json", "last"]);
    let show: serde_json::Value = serde_json::from_str(&id).expect("show prints JSON");
    let line: node::api::wire::TaskLine =
        serde_json::from_value(show["tasks"][0]["line"].clone()).expect("it has a status line");
    (line.reason.unwrap_or_default(), line.exit, line.attempts)
}

#[test]
fn python_functions_are_called_by_name() {
    let Some(cluster) = beside("python3") else {
        return;
    };
    let node = &cluster[0];
    let good = |options: &[&str], function: &str, json: &[&str]| {
        call(&cluster, options, function, json).ok().to_owned()
    };
    let said = call(&cluster, &[], "frames:render", &["WHO=me", "[3]"]);
    assert_eq!(said.json(), serde_json::json!({"area": 6}));
    assert_eq!(said.stderr, "printed by me\nprinted by a child\n");
    let words = ["output", "--stdout", "last"];
    assert_eq!(node.ok(&words), r#"{"area": 6}"#);
    let show = node.ok(&["show", "last"]);
    assert!(
        show.contains("command     python3 frames:render '[3]'"),
        "{show}"
    );
    assert!(show.contains("calls       frames:render"), "{show}");
    let by_name = r#"{"width": 3, "height": 4}"#;
    assert_eq!(good(&[], "frames:render", &[by_name]), r#"{"area": 12}"#);
    assert_eq!(good(&[], "frames:Frames.each", &[]), "[]");
    assert_eq!(good(&[], "os.path:join", &[r#"["a", "b"]"#]), r#""a/b""#);
    assert_eq!(good(&[], "frames:later", &["[\"\u{fc}\"]"]), r#""\u00fc""#);
    // An exit that says that all is well has no result.
    assert_eq!(good(&[], "frames:leave", &["[0]"]), "null");
    let source = node.submit(&[], &["printf", "12345"]);
    assert_eq!(good(&["--pipe-from", &source], "frames:count", &[]), "5");
    let words = ["submit", "--array", "7-8", "--call", "frames:index"];
    let array = node.aque(&words).dir(cluster.dir()).run().ok().to_owned();
    wait_state(node, &array, "success");
    let element = format!("{array}.8");
    assert_eq!(node.ok(&["output", &element]), "[8, false]");
    let words = ["xargs", "-w", "-k", "-n2", "--call", "frames:Frames.each"];
    let said = node
        .aque(&words)
        .dir(cluster.dir())
        .input("a 'b c' d")
        .run();
    assert_eq!(said.ok(), "[\"a\", \"b c\"]\n[\"d\"]");
}

#[test]
fn what_goes_wrong_with_a_call_is_not_what_the_work_comes_to() {
    let Some(cluster) = beside("python3") else {
        return;
    };
    for (function, json, status, reason) in [
        (
            "frames:none",
            "[]",
            241,
            "call: no function none in module frames",
        ),
        (
            "frames:Frames.none",
            "[]",
            241,
            "call: no function Frames.none in module frames",
        ),
        (
            "frames:PYTHON",
            "[]",
            241,
            "call: no function PYTHON in module frames",
        ),
        (
            "frames:os",
            "[]",
            241,
            "call: os in module frames is no function",
        ),
        ("nowhere:f", "[]", 241, "call: no module nowhere"),
        (
            "frames.deeper:f",
            "[]",
            241,
            "call: no module frames.deeper",
        ),
        (
            "broken:f",
            "[]",
            241,
            "call: module broken cannot be imported: ZeroDivisionError",
        ),
        (
            "frames:render",
            "[]",
            242,
            "call: its arguments do not bind: missing a required",
        ),
        (
            "frames:render",
            r#"{"depth": 1}"#,
            242,
            "call: its arguments do not bind",
        ),
        (
            "frames:secret",
            "[]",
            243,
            "call: its result is no JSON: Object of type set",
        ),
        (
            "frames:boom",
            r#"["too\nlarge"]"#,
            1,
            "ValueError: too large",
        ),
        ("frames:leave", "[5]", 5, "exit 5"),
        ("frames:leave", "[241]", 1, "it exited with 241"),
        ("frames:leave", r#"["in words"]"#, 1, "exit 1"),
        ("frames:kill", "[]", 137, "signal 9"),
    ] {
        let options = ["--retries", "2", "--retry-on", "9"];
        let said = call(&cluster, &options, function, &[json]);
        assert_eq!(said.status.code(), Some(status), "{function}: {said}");
        assert_eq!(said.stdout, "", "{function}");
        let (why, exit, attempts) = last(&cluster[0]);
        assert!(why.starts_with(reason), "{function}: {why}");
        assert_eq!(attempts, 1, "{function}");
        assert_eq!(exit, (status != 137).then_some(status), "{function}");
    }
    let said = call(&cluster, &[], "frames:boom", &["[\"x\"]"]);
    assert!(said.stderr.starts_with("Traceback"), "{said}");
    assert!(
        said.stderr.contains("in boom") && !said.stderr.contains("<string>"),
        "{said}"
    );
    // A call that cannot be made is tried again only if that is said; what the work comes to, otherwise.
    for (options, function, runs) in [
        (&["--retries", "1"][..], "frames:none", 1),
        (&["--retries", "1", "--retry-on", "call"], "frames:none", 2),
        (&["--retries", "1"], "frames:boom", 2),
        (&["--retries", "1", "--retry-on", "call"], "frames:boom", 1),
    ] {
        let options = [options, &["--backoff", "0"]].concat();
        let said = call(&cluster, &options, function, &["[1]"]);
        assert!(!said.status.success(), "{said}");
        assert_eq!(last(&cluster[0]).2, runs, "{options:?} {function}");
    }
    // A reason is of the run whose end it is.
    let id = cluster[0].submit(&["--retries", "0"], &["sh", "-c", "exit 241"]);
    wait_reason(&cluster[1], &id, "error", "exit 241");
}

#[test]
fn node_functions_are_called_by_name() {
    let Some(cluster) = beside("node") else {
        return;
    };
    let by = ["--interpreter", "node"];
    let said = call(
        &cluster,
        &by,
        "frames:render",
        &["WHO=me", r#"{"width": 3}"#],
    );
    assert_eq!(said.json(), serde_json::json!({"area": 6}));
    assert_eq!(said.stderr, "printed by me\nprinted by a child\n");
    let good = |function: &str, json: &str| call(&cluster, &by, function, &[json]).ok().to_owned();
    assert_eq!(good("./frames.js:Frames.each", "[1, [2]]"), "[1,[2]]");
    assert_eq!(good("node:path:join", r#"["a", "b"]"#), r#""a/b""#);
    assert_eq!(good("frames:later", "[7]"), "7");
    assert_eq!(good("frames:leave", "[0]"), "null");
    assert_eq!(good("frames:count", "[]"), "0");
    for (function, json, status, reason) in [
        (
            "frames:none",
            "[]",
            241,
            "call: no function none in module frames",
        ),
        ("nowhere:f", "[]", 241, "call: no module nowhere"),
        ("frames:secret", "[]", 243, "call: its result is no JSON"),
        (
            "frames:boom",
            r#"["too\nlarge"]"#,
            1,
            "TypeError: too large",
        ),
        ("frames:leave", "[5]", 5, "exit 5"),
        ("frames:leave", "[241]", 1, "it exited with 241"),
        ("frames:never", "[]", 1, "its promise was never settled"),
    ] {
        let said = call(&cluster, &by, function, &[json]);
        assert_eq!(said.status.code(), Some(status), "{function}: {said}");
        assert_eq!(said.stdout, "", "{function}");
        let (why, ..) = last(&cluster[0]);
        assert!(why.starts_with(reason), "{function}: {why}");
    }
}

#[test]
fn what_is_no_call_is_refused() {
    let cluster = Cluster::start(1);
    let node = &cluster[0];
    for (words, why) in [
        (&["--call", "frames"][..], "'frames' names no function"),
        (&["--call", "m:f", "{'a': 1}"], "no JSON"),
        (&["--call", "m:f", "7"], "one JSON array"),
        (&["--call", "m:f", "[1]", "[2]"], "one JSON array"),
        (
            &["--call", "m:f", "--interpreter", "ruby"],
            "functions of 'ruby'",
        ),
        (&["--call", "m:f", "-s", "[1]"], "cannot be used with"),
        (&["--interpreter", "sh", "-s", "x"], "cannot be used with"),
        (&["--interpreter", "sh"], "CMD"),
    ] {
        let said = node.aque(&[&["submit"], words].concat()).run();
        assert!(said.refused(2).contains(why), "{said}");
    }
    let words = ["xargs", "--call", "m:f", "word"];
    let said = node.aque(&words).input("a").run();
    assert!(said.refused(2).contains("the items alone"), "{said}");
    // A host without the interpreter says so.
    let words = ["--interpreter", "/no/such/python3"];
    let said = node.aque(&[&["submit", "-w"], &words[..], &["--call", "m:f"]].concat());
    assert_eq!(said.run().status.code(), Some(127));
    // Without a call it may be any.
    fs::write(cluster.path("script"), "echo $# $1; exit 3").expect("a script is written");
    let words = ["submit", "-w", "--interpreter", "sh", "script", "a b"];
    let said = node.aque(&words).dir(cluster.dir()).run();
    assert_eq!((said.status.code(), &said.stdout[..]), (Some(3), "1 a b\n"));
    let words = ["xargs", "-w", "--interpreter", "sh", "script"];
    let said = node.aque(&words).dir(cluster.dir()).input("x y").run();
    assert_eq!((said.status.code(), &said.stdout[..]), (Some(123), "2 x\n"));
}
