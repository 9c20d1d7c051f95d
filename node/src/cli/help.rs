//! `aque help`: a verb's help text, or a topic that belongs to many verbs.

use super::Context;
use super::problem::Problem;
use crate::filter::Filter;

/// Show help: of a verb, or about a topic
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A verb, or a topic: ids, filters, states, exit-status, environment, files
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  aque help submit
  aque help queue set
  aque help filters";

/// Something that belongs to many verbs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic {
    /// What a person types.
    pub(crate) name: &'static str,
    /// In a line.
    pub(crate) about: &'static str,
    /// In full.
    pub(crate) text: fn() -> String,
}

/// Every topic.
pub(crate) const TOPICS: &[Topic] = &[
    Topic {
        name: "ids",
        about: "how tasks are named",
        text: || include_str!("help/ids.txt").to_owned(),
    },
    Topic {
        name: "filters",
        about: "which tasks are meant, said in words",
        text: Filter::help,
    },
    Topic {
        name: "states",
        about: "what becomes of a task",
        text: || include_str!("help/states.txt").to_owned(),
    },
    Topic {
        name: "exit-status",
        about: "what aque exits with",
        text: || include_str!("help/exit-status.txt").to_owned(),
    },
    Topic {
        name: "environment",
        about: "variables that aque, aque-node and tasks find",
        text: || include_str!("help/environment.txt").to_owned(),
    },
    Topic {
        name: "files",
        about: "where things lie",
        text: || include_str!("help/files.txt").to_owned(),
    },
];

/// Shows help.
pub(crate) fn run(context: &Context, options: &Options) -> Result<u8, Problem> {
    let mut command = super::command();
    command.build();
    if let [word] = &options.words[..]
        && let Some(topic) = TOPICS.iter().find(|topic| topic.name == word)
    {
        return context.print(&(topic.text)()).map(|()| 0);
    }
    let mut of = command;
    for (place, word) in options.words.iter().enumerate() {
        let verb = of.find_subcommand(word).cloned();
        of = verb.ok_or_else(|| unknown(word, &options.words[..place], &of))?;
    }
    let text = of.render_long_help();
    context.print(&text.ansi().to_string()).map(|()| 0)
}

/// A word that follows these, of which the last is that verb.
fn unknown(word: &str, path: &[String], of: &clap::Command) -> Problem {
    let topics = TOPICS.iter().map(|topic| topic.name);
    let topics = topics.filter(|_| path.is_empty());
    let verbs = of.get_subcommands().map(clap::Command::get_name);
    let likeness = |name: &&str| strsim::jaro_winkler(word, name);
    let best = topics.clone().chain(verbs);
    let best = best.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let problem = Problem::usage(format!(
        "there is neither a verb nor a topic called '{word}'"
    ));
    match best.filter(|name| likeness(name) >= ALIKE) {
        Some(name) => {
            let words = path.iter().map(String::as_str).chain([name]);
            let words = words.collect::<Vec<_>>().join(" ");
            problem.hint(format!("try 'aque help {words}'"))
        }
        None if !path.is_empty() => problem.hint(format!("try 'aque help {}'", path.join(" "))),
        None => problem.hint(format!(
            "the topics are {}; 'aque --help' lists the verbs",
            topics.collect::<Vec<_>>().join(", ")
        )),
    }
}

/// From this likeness on a word is taken for a slip. A guess.
const ALIKE: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fit_a_terminal_and_are_named() {
        for topic in TOPICS {
            let text = (topic.text)();
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{}: {longest:?}", topic.name);
            assert!(text.ends_with('\n'), "{}", topic.name);
        }
        let command = super::super::command();
        let help = command.find_subcommand("help");
        let words = help.and_then(|help| help.get_positionals().next()?.get_help());
        let words = words.map(ToString::to_string).unwrap_or_default();
        for topic in TOPICS {
            assert!(words.contains(topic.name), "{words:?} lacks {}", topic.name);
        }
    }

    #[test]
    fn every_state_and_exit_status_is_explained() {
        let text = |name: &str| {
            let topic = TOPICS.iter().find(|topic| topic.name == name);
            topic.map_or_else(String::new, |topic| (topic.text)())
        };
        for state in crdt::task::TaskState::ALL {
            let told = text("states")
                .lines()
                .any(|line| line.split_whitespace().next() == Some(state.name()));
            assert!(told, "{state}");
        }
        for kind in super::super::problem::Kind::ALL {
            let status = kind.status().to_string();
            let told = text("exit-status")
                .lines()
                .any(|line| line.split_whitespace().next() == Some(&status));
            assert!(told, "{status}");
        }
    }
}
