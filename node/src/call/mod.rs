//! Functions that are called by name (`submit --call MODULE:NAME [JSON]`): names and JSON travel, never code, and nothing is pickled.
//!
//! The words of such a task are its interpreter, the function, and perhaps the arguments: an array in order, or an object by name. The
//! host that runs it puts a small program of its own between the first two, `call.py` or `call.js`, which finds the function where the
//! task runs, calls it, and writes what it returns to standard output, as JSON. What the function itself prints goes to standard error.
//!
//! What goes wrong with the call is kept apart from what the work comes to: the program writes which it was, and why, to the file that
//! `AQUE_CALL` names, and ends with a code of [`RESERVED`] in the first case. It maps such a code of the function's own.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use crdt::event::CallEnd;
use crdt::task::Arg;
use serde_json::value::RawValue;

/// The variable that names the file for the reason.
pub(crate) const VARIABLE: &str = "AQUE_CALL";
/// The interpreter of a call that names none.
pub(crate) const DEFAULT: &str = "python3";
/// Exit codes of the programs for calls that could not be made: 240 the arguments are no JSON, 241 the name leads nowhere,
/// 242 the arguments do not bind, 243 the result is no JSON.
const RESERVED: RangeInclusive<i32> = 240..=243;
/// So much of a reason is read, bytes; of what is kept of it see [`CallEnd::MOST_BYTES`].
const REASON: u64 = 4 << 10;

/// Why words make no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCall {
    /// Another interpreter.
    #[error("functions of '{0}' cannot be called: of python (python3, …) and node they can")]
    Interpreter(String),
    /// No function.
    #[error("'{0}' names no function: write MODULE:NAME, such as frames:render")]
    Target(String),
    /// Arguments that are no JSON.
    #[error("the arguments are no JSON: {0}")]
    Json(String),
    /// JSON of another kind.
    #[error("the arguments are one JSON array, in order, or one object, by name")]
    Shape,
}

/// A language whose functions can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    Node,
}

impl Language {
    /// Returns the language of an interpreter, by its file's name.
    fn of(interpreter: &Arg) -> Option<Self> {
        let name = interpreter.0.rsplit(|byte| *byte == b'/').next()?;
        match name {
            [b'p', b'y', b't', b'h', b'o', b'n', ..] => Some(Self::Python),
            [b'n', b'o', b'd', b'e', ..] => Some(Self::Node),
            _ => None,
        }
    }

    /// The words between the interpreter and the function.
    fn program(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["-c", include_str!("call.py")],
            Self::Node => &["-e", include_str!("call.js"), "--"],
        }
    }
}

/// Checks the words of a call.
///
/// # Errors
/// [`NoCall`].
pub(crate) fn check(words: &[Arg]) -> Result<(), NoCall> {
    let text = |word: Option<&Arg>| word.map_or_else(String::new, |word| word.to_text().into());
    let interpreter = words.first();
    if interpreter.and_then(Language::of).is_none() {
        return Err(NoCall::Interpreter(text(interpreter)));
    }
    let target = text(words.get(1));
    let is_function = |(module, name): (&str, &str)| {
        let is_module = !module.is_empty() && !module.starts_with('-');
        is_module && !name.split('.').any(str::is_empty)
    };
    if !target.rsplit_once(':').is_some_and(is_function) {
        return Err(NoCall::Target(target));
    }
    match words.get(2..).unwrap_or_default() {
        [] => Ok(()),
        [json] => {
            let parsed: Result<&RawValue, _> = serde_json::from_slice(&json.0);
            let parsed = parsed.map_err(|error| NoCall::Json(error.to_string()))?;
            match parsed.get().starts_with(['[', '{']) {
                true => Ok(()),
                false => Err(NoCall::Shape),
            }
        }
        [..] => Err(NoCall::Shape),
    }
}

/// Returns what is executed for the words of a call; `None` if they make none that is known here.
pub(crate) fn executed(words: &[Arg]) -> Option<Vec<Vec<u8>>> {
    check(words).ok()?;
    let program = Language::of(&words[0])?.program();
    let program = program.iter().map(|word| word.as_bytes().to_vec());
    let [interpreter, rest @ ..] = words else {
        return None;
    };
    let rest = rest.iter().map(|word| word.0.clone());
    let words = std::iter::once(interpreter.0.clone()).chain(program);
    Some(words.chain(rest).collect())
}

/// Returns what the program said of a call that ended with this code, if it said anything.
pub(crate) fn end(path: &Path, code: i32) -> Option<CallEnd> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(REASON).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let (kind, why) = (lines.next()?, lines.next()?);
    let why = CallEnd::shortened(why);
    match kind {
        "call" if RESERVED.contains(&code) => Some(CallEnd::Refused(why)),
        "work" if code != 0 => Some(CallEnd::Raised(why)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn words(words: &[&str]) -> Vec<Arg> {
        words.iter().map(|word| Arg::from(*word)).collect()
    }

    #[test]
    fn calls_table() {
        for good in [
            &["python3", "frames:render"][..],
            &["/opt/py/bin/python3.12", "a.b:C.m", "[]"],
            &["node", "./frames.js:K.m", r#"{"x": [1, 2]}"#],
            &["/usr/bin/nodejs", "node:path:join", "\n[\"a\", \"b\"] "],
        ] {
            assert_eq!(check(&words(good)), Ok(()), "{good:?}");
        }
        for (bad, told) in [
            (&["ruby", "a:b"][..], "functions of 'ruby'"),
            (&["/python3/ruby", "a:b"], "functions of '/python3/ruby'"),
            (&[], "functions of ''"),
            (&["python3"], "'' names no function"),
            (&["python3", "frames"], "'frames' names no function"),
            (&["python3", ":f"], "':f' names"),
            (&["python3", "m:"], "'m:' names"),
            (&["python3", "m:a..b"], "'m:a..b' names"),
            (&["python3", "-c:f"], "'-c:f' names"),
            (&["python3", "m:f", "[1,"], "no JSON"),
            (&["python3", "m:f", ""], "no JSON"),
            (&["python3", "m:f", "{'a': 1}"], "no JSON"),
            (&["python3", "m:f", "7"], "one JSON array"),
            (&["python3", "m:f", "[1]", "[2]"], "one JSON array"),
        ] {
            let error = check(&words(bad)).unwrap_err().to_string();
            assert!(error.contains(told), "{bad:?}: {error}");
            assert_eq!(executed(&words(bad)), None);
        }
    }

    #[test]
    fn the_program_stands_between_interpreter_and_function() {
        let all = executed(&words(&["/x/node", "m:f", "[1]"])).unwrap();
        let told: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let program = include_bytes!("call.js");
        let expected: [&[u8]; 6] = [b"/x/node", b"-e", program, b"--", b"m:f", b"[1]"];
        assert_eq!(told, expected);
    }

    #[test]
    fn only_a_word_and_its_code_say_that_a_call_was_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("why");
        assert_eq!(end(&path, 241), None);
        let refused = |why: &str| Some(CallEnd::Refused(why.to_owned()));
        let raised = |why: &str| Some(CallEnd::Raised(why.to_owned()));
        let long = "x".repeat(10_000);
        for (text, code, told) in [
            ("call\nno module m\n", 241, refused("no module m")),
            ("call\nno module m\n", 1, None),
            ("work\nValueError: x\n", 1, raised("ValueError: x")),
            ("work\nValueError: x\n", 0, None),
            ("", 241, None),
            ("call\n", 241, None),
            ("other\nx\n", 241, None),
            (
                &format!("work\n{long}"),
                1,
                raised(&"x".repeat(CallEnd::MOST_BYTES)),
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(end(&path, code), told, "{code}");
        }
    }
}
