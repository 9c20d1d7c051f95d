//! Options of `submit` and `xargs` for what an interpreter runs: a script, or a function that is called by its name.

use std::ffi::OsString;

use crdt::task::Arg;

use super::parse;
use super::problem::Problem;
use crate::call::{self, NoCall};

/// What an interpreter runs.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Scripts and calls")]
pub(crate) struct CallOptions {
    /// What runs it: the script that CMD is then, or with --call the function [default with --call: python3]
    #[arg(long, value_name = "PATH", conflicts_with = "shell")]
    interpreter: Option<OsString>,
    /// Call this function of python or node with the JSON array or object that CMD is then; its result is the output, as JSON
    #[arg(long, value_name = "MODULE:NAME", conflicts_with = "shell")]
    call: Option<OsString>,
}

impl CallOptions {
    /// Says whether a function is called.
    pub(crate) fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Returns the words of a task whose own words are these.
    ///
    /// # Errors
    /// They make no call.
    pub(crate) fn words(&self, own: Vec<Arg>) -> Result<Vec<Arg>, Problem> {
        let words = self.before(own);
        if self.is_call() {
            call::check(&words).map_err(problem)?;
        }
        Ok(words)
    }

    /// Puts what stands before them in front of a task's own words.
    pub(crate) fn before(&self, own: Vec<Arg>) -> Vec<Arg> {
        let interpreter = self.interpreter.clone().map(parse::arg);
        let function = self.call.clone().map(parse::arg);
        let interpreter = interpreter.or_else(|| function.as_ref().map(|_| call::DEFAULT.into()));
        interpreter.into_iter().chain(function).chain(own).collect()
    }

    /// Makes one JSON array of the words behind the function.
    ///
    /// # Errors
    /// One that is no text.
    pub(crate) fn packed(&self, words: Vec<Arg>) -> Result<Vec<Arg>, Problem> {
        if !self.is_call() || words.len() <= 2 {
            return Ok(words);
        }
        let texts: Option<Vec<&str>> = words[2..]
            .iter()
            .map(|word| std::str::from_utf8(&word.0).ok())
            .collect();
        let json = texts.and_then(|texts| serde_json::to_string(&texts).ok());
        let json = json.ok_or_else(|| {
            Problem::failed("an item is no UTF-8, and the arguments of a call are JSON")
        })?;
        let mut words = words;
        words.truncate(2);
        words.push(json.into());
        Ok(words)
    }
}

fn problem(error: NoCall) -> Problem {
    let hint = match &error {
        NoCall::Interpreter(_) => "run a script with --interpreter PATH SCRIPT, without --call",
        NoCall::Target(_) => "see 'aque submit --help'",
        NoCall::Json(_) | NoCall::Shape => {
            "such as '[1, \"a\"]' or '{\"width\": 1}', in quotes for the shell"
        }
    };
    Problem::usage(error.to_string()).hint(hint)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn args(words: &[&str]) -> Vec<Arg> {
        words.iter().map(|word| Arg::from(*word)).collect()
    }

    #[test]
    fn words_table() {
        for (interpreter, call, own, words) in [
            (None, None, &["ls", "x"][..], &["ls", "x"][..]),
            (Some("perl"), None, &["a.pl"], &["perl", "a.pl"]),
            (None, Some("m:f"), &[], &["python3", "m:f"]),
            (Some("node"), Some("m:f"), &["[1]"], &["node", "m:f", "[1]"]),
        ] {
            let options = CallOptions {
                interpreter: interpreter.map(Into::into),
                call: call.map(Into::into),
            };
            assert_eq!(options.words(args(own)).unwrap(), args(words));
        }
    }

    #[test]
    fn items_become_an_array() {
        let options = CallOptions {
            interpreter: None,
            call: Some("m:f".into()),
        };
        let packed = |words: &[&str]| options.packed(args(words)).unwrap();
        assert_eq!(packed(&["p", "m:f"]), args(&["p", "m:f"]));
        let words = packed(&["p", "m:f", "a \"b\"", "ü"]);
        assert_eq!(words, args(&["p", "m:f", r#"["a \"b\"","ü"]"#]));
        let odd = vec![Arg::from("p"), Arg::from("m:f"), Arg(vec![0xff])];
        assert!(options.packed(odd).is_err());
    }
}
