//! Transcripts of every verb: what is typed, what is printed, and the exit status, as people see them. One file a verb, in
//! `transcripts/`; a change of any word is seen in review. What differs from run to run (tags, times, sizes) is written as
//! something that does not ([`Filter`]).
//!
//! To take a change over: `INSTA_UPDATE=always cargo test -p tests --test it transcripts`, and read the difference.

mod filter;
mod scripts;

use std::collections::BTreeSet;

use tests::{Aque, Plan};

use filter::Filter;
use scripts::{SCRIPTS, Script};

use super::verbs::defined;

macro_rules! transcripts {
    ($($verb:ident)*) => {
        /// The verbs that have a test of their own here.
        const TESTED: &[&str] = &[$(stringify!($verb)),*];
        $(
            #[test]
            fn $verb() {
                check(stringify!($verb));
            }
        )*
    };
}

transcripts! {
    submit xargs status show why_twice output wait kill retry rm edit explain hold release nodes drain undrain forget top events queue
    settings invite doctor demo completions man help
}

/// Runs a verb's script, and compares.
fn check(test: &str) {
    let verb = test.replace('_', "-");
    let script = SCRIPTS.iter().find(|(of, ..)| *of == verb);
    let (_, hosts, lines) = script.expect("every test has a script");
    let text = written(*hosts, lines);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(verb, text));
}

/// Types the lines, one after the other, at a mesh of so many hosts; nought is no mesh.
fn written(hosts: usize, lines: &[&str]) -> String {
    let cluster = match hosts {
        0 => None,
        // Where there is one host alone, no setting says where root's tasks run.
        1 => Some(Plan::of(1).root_stays()),
        _ => Some(Plan::of(hosts)),
    };
    let cluster = cluster.map(|plan| plan.flags(&["--memory", "8G"]).start());
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let filter = Filter::new(home.path(), cluster.as_ref());
    let nowhere = home.path().join("nowhere");
    let node = cluster
        .as_ref()
        .map_or(nowhere.as_path(), |cluster| cluster[0].home());
    let mut text = String::new();
    for line in lines {
        let hidden = line.strip_prefix('~');
        let done = Aque::in_shell(hidden.unwrap_or(line), node)
            .dir(home.path())
            .env("HOME", &home.path().display().to_string())
            .env("TZ", "UTC")
            .run();
        if hidden.is_none() {
            text += &filter.shown(line, &done);
        }
    }
    text
}

#[test]
fn every_verb_has_a_transcript() {
    let tested: BTreeSet<String> = TESTED.iter().map(|test| test.replace('_', "-")).collect();
    let written: BTreeSet<String> = SCRIPTS
        .iter()
        .map(|(verb, ..)| (*verb).to_owned())
        .collect();
    let verbs = defined();
    let first = |verb: &String| verb.split(' ').next().map(str::to_owned);
    let defined: BTreeSet<String> = verbs.iter().filter_map(first).collect();
    assert_eq!(tested, defined);
    assert_eq!(written, defined);
    // What stands below a verb is typed in its script.
    for verb in &verbs {
        let typed = |(_, _, lines): &Script| {
            let call = format!("aque {verb}");
            lines.iter().any(|line| line.contains(&call))
        };
        assert!(SCRIPTS.iter().any(typed), "nobody types 'aque {verb}'");
    }
}
