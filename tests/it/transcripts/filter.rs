//! What differs from run to run, written as something that does not: who the hosts are, when it was, how long it took, how much a
//! machine has. Words that people read stay as they are, and so do lengths of time that a person or the program states.

use std::borrow::Cow;
use std::path::Path;

use ::tests::{Cluster, Outcome};
use regex::Regex;

/// Tags that hosts never have: two hosts are enough.
const TAGS: [&str; 2] = ["k3v7qa", "m5x2wd"];

/// What differs everywhere, and what is written for it; as wide as it is, so that tables stay tables.
const ANYWHERE: &[(&str, &str)] = &[
    // Instants, for people and for programs.
    (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
        "2026-12-24T18:30:00Z",
    ),
    (r"\b1[789]\d{11}\b", "1798137000000"),
    // Tickets and digests.
    (r"\baque1[a-z0-9]{40,}", "aque1…"),
    (r"\b[0-9a-f]{64}\b", "…"),
    (r"\b[0-9a-f]{8} (of|at)\b", "00c0ffee $1"),
    // Addresses on loopback, which the harness gives out.
    (r"127\.\d+\.\d+\.(\d+)", "127.0.0.$1"),
    // The program's version.
    (r"\b\d+\.\d+\.\d+\b( |\n|$|\x22)", "1.2.3$1"),
    // What a run took.
    (r"(?m)^usage  .*$", "usage       …"),
    (r"\(after [^)]*\)", "(after 5ms)"),
    (r"\bin 23h\d\dm\b", "in 23h59m"),
    (
        r#""(rss_bytes|seq|read_bytes|written_bytes|user_ms|system_ms)":\d+"#,
        r#""$1":7"#,
    ),
];

/// The same in tables of standard output, where it may be of any width.
const IN_COLUMNS: &[(&str, &str)] = &[
    // Load, and how far away a host is.
    (
        r"  \d+\.\d\d +(here|\d+(\.\d+)?[mu]?s) +(here|none|-|\d+ lists?) ",
        "  LOAD  PING  LAG ",
    ),
    // How old a task is and how long it ran.
    (
        r" +(\d+m\d\ds|\d+(\.\d+)?m?s)( +(\d+m\d\ds|\d+(\.\d+)?m?s))?  ",
        "  TIME  ",
    ),
];

/// Knows what differs.
pub(super) struct Filter {
    names: Vec<(String, String)>,
    anywhere: Vec<(Regex, &'static str)>,
    in_columns: Vec<(Regex, &'static str)>,
}

impl Filter {
    /// Returns one for what is typed in a directory, at a mesh.
    pub(super) fn new(home: &Path, cluster: Option<&Cluster>) -> Self {
        let path = |path: &Path| path.display().to_string();
        let user = node::users::name_of(rustix::process::getuid().as_raw());
        let mut names = vec![(path(home), "/home/ann".to_owned())];
        if let Some(cluster) = cluster {
            names.push((path(cluster.dir()), "/srv".to_owned()));
            let tags = cluster.nodes().iter().zip(TAGS);
            names.extend(tags.map(|(node, tag)| (node.ready().tag.clone(), tag.to_owned())));
        }
        // Where it stands for somebody, not for everybody's root.
        let ann = [
            "\"user\":\"{}\"",
            "\nuser        {}\n",
            "by {}\n",
            "({})",
            "  {}\n",
        ];
        let ann = ann.map(|text| (text.replace("{}", &user), text.replace("{}", "ann")));
        names.extend(ann);
        let compiled = |table: &[(&str, &'static str)]| {
            let compiled = |(pattern, instead): &(&str, &'static str)| {
                (Regex::new(pattern).expect("a pattern is sound"), *instead)
            };
            table.iter().map(compiled).collect()
        };
        Self {
            names,
            anywhere: compiled(ANYWHERE),
            in_columns: compiled(IN_COLUMNS),
        }
    }

    /// Returns a call as it stands in a transcript: standard output, then standard error behind `!`, then the exit status if it is not 0.
    pub(super) fn shown(&self, line: &str, done: &Outcome) -> String {
        let mut text = format!("$ {line}\n{}", self.output(&done.stdout));
        for line in self.errors(&done.stderr).lines() {
            text += &format!("! {line}\n");
        }
        match done.status.code() {
            Some(0) => {}
            Some(code) => text += &format!("[exit {code}]\n"),
            None => text += "[ended by a signal]\n",
        }
        text + "\n"
    }

    fn output(&self, text: &str) -> String {
        let text = self.errors(text);
        let alike = replaced(&text, &self.in_columns);
        match alike == text {
            true => text,
            // Columns are as wide as what stood there.
            false => alike.lines().map(|line| narrow(line) + "\n").collect(),
        }
    }

    fn errors(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, instead) in &self.names {
            text = text.replace(name, instead);
        }
        replaced(&text, &self.anywhere)
    }
}

fn replaced(text: &str, table: &[(Regex, &str)]) -> String {
    let replace = |text: String, (pattern, instead): &(Regex, &str)| match pattern
        .replace_all(&text, *instead)
    {
        Cow::Borrowed(_) => text,
        Cow::Owned(text) => text,
    };
    table.iter().fold(text.to_owned(), replace)
}

/// Returns a line with two blanks between columns.
fn narrow(line: &str) -> String {
    let start = line.len() - line.trim_start().len();
    let (margin, rest) = line.split_at(start);
    let columns = rest
        .split("  ")
        .map(str::trim)
        .filter(|column| !column.is_empty());
    margin.to_owned() + &columns.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_written_alike() {
        let filter = Filter::new(Path::new("/tmp/x7"), None);
        for (one, other) in [
            ("at 2026-12-01T09:02:18Z\n", "at 2026-12-01T10:12:18.5Z\n"),
            ("{\"at_ms\":1796117026026}", "{\"at_ms\":1796117099999}"),
            (
                "ID  AGE  TIME  COMMAND\na    182ms   4ms  x\n",
                "ID    AGE  TIME  COMMAND\na    3s  12ms  x\n",
            ),
            (
                "a  n0  0   58ms        (3 success) true\n",
                "a  n0  0  1s        (3 success) true\n",
            ),
            (
                "usage       0.001s user, 0.120s system, 16.1 MiB at most\n",
                "usage       0.100s user, 1.100s system, 7.0 KiB at most\n",
            ),
            (
                "0  0.00   here  here  0.1.0  x\n",
                "0  11.62  7.4ms  2 lists  0.1.1  x\n",
            ),
        ] {
            assert_eq!(filter.output(one), filter.output(other));
        }
    }

    #[test]
    fn what_does_not_stays() {
        let filter = Filter::new(Path::new("/tmp/x7"), None);
        for text in [
            "aque: 1 task asked to end (SIGTERM, SIGKILL after 10s)\n",
            "replace-after is 30m on every host\n",
            "QUEUE   STATE     SLOTS  WEIGHT\nrender  open          2       3\n",
            "the node did not answer within 1m; see whether it still runs\n",
        ] {
            assert_eq!(filter.output(text), text);
            assert_eq!(filter.errors(text), text);
        }
        assert_eq!(filter.errors("in /tmp/x7/y"), "in /home/ann/y");
    }
}
