//! The one thing of GNU's command line that the parser cannot say: short options whose value may be left out, and stands in the
//! same word if it is there: `-i`, `-iR`, `-tl2`. They are put as the long options that mean the same, before anything is parsed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// The short options, and the long ones that mean the same.
const OPTIONAL: [(u8, &str); 3] = [(b'e', "--eof"), (b'i', "--replace"), (b'l', "--max-lines")];

/// Returns the words of a call of `top`, with such options spelled out where its verb is `xargs`.
pub(crate) fn spelled_out(top: &Command, mut args: Vec<OsString>) -> Vec<OsString> {
    let before = 1 + options_of(&[top], args.iter().skip(1));
    let Some(xargs) = top.find_subcommand("xargs") else {
        return args;
    };
    if args.get(before).is_none_or(|verb| verb != xargs.get_name()) {
        return args;
    }
    let own = args.split_off(before + 1);
    args.extend(spelled(&[xargs, top], own));
    args
}

/// What a word is to the parser, as far as it matters here.
enum Word {
    /// The first that is no option, or the mark of their end.
    Last,
    /// An option that is whole.
    Whole,
    /// An option whose value is the next word.
    Opens,
    /// Letters, of which the one at this place has a value that may be left out, and this long form.
    Optional(usize, &'static str),
}

/// Counts the words from here that are options or their values.
fn options_of<'a>(commands: &[&Command], mut words: impl Iterator<Item = &'a OsString>) -> usize {
    let mut count = 0;
    while let Some(word) = words.next() {
        match look(commands, word) {
            Word::Last => break,
            Word::Whole | Word::Optional(..) => count += 1,
            Word::Opens => count += 1 + usize::from(words.next().is_some()),
        }
    }
    count
}

fn spelled(commands: &[&Command], own: Vec<OsString>) -> Vec<OsString> {
    let mut out = Vec::with_capacity(own.len());
    let mut words = own.into_iter();
    while let Some(word) = words.next() {
        match look(commands, &word) {
            Word::Last => {
                out.push(word);
                break;
            }
            Word::Whole => out.push(word),
            Word::Opens => {
                out.push(word);
                out.extend(words.next());
            }
            Word::Optional(place, long) => {
                let (flags, rest) = word.as_bytes().split_at(place);
                if flags.len() > 1 {
                    out.push(OsString::from_vec(flags.to_vec()));
                }
                let value = &rest[1..];
                let equals: &[u8] = if value.is_empty() { b"" } else { b"=" };
                out.push(OsString::from_vec(
                    [long.as_bytes(), equals, value].concat(),
                ));
            }
        }
    }
    out.extend(words);
    out
}

fn look(commands: &[&Command], word: &OsStr) -> Word {
    match word.as_bytes() {
        [b'-', b'-', name @ ..] if !name.is_empty() => {
            let is_open = !name.contains(&b'=') && takes_next(commands, |arg| is_long(arg, name));
            if is_open { Word::Opens } else { Word::Whole }
        }
        [b'-', letters @ ..] if !letters.is_empty() && letters != b"-" => {
            cluster(commands, letters)
        }
        _ => Word::Last,
    }
}

fn cluster(commands: &[&Command], letters: &[u8]) -> Word {
    for (place, letter) in letters.iter().enumerate() {
        if let Some((_, long)) = OPTIONAL.iter().find(|(own, _)| own == letter) {
            return Word::Optional(place + 1, long);
        }
        let is_this = |arg: &Arg| arg.get_short() == Some(char::from(*letter));
        if takes_next(commands, is_this) {
            let is_last = place + 1 == letters.len();
            return if is_last { Word::Opens } else { Word::Whole };
        }
    }
    Word::Whole
}

fn is_long(arg: &Arg, name: &[u8]) -> bool {
    arg.get_long().is_some_and(|long| long.as_bytes() == name)
}

/// Says whether the option that `is_this` knows has a value, which may be the next word.
fn takes_next(commands: &[&Command], is_this: impl Fn(&Arg) -> bool) -> bool {
    let mut args = commands.iter().flat_map(|command| command.get_arguments());
    args.find(|arg| is_this(arg))
        .is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled_words(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let out = spelled_out(&crate::cli::command(), args);
        let words: Vec<_> = out.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn values_that_may_be_left_out() {
        for (line, expected) in [
            ("aque xargs -i echo", "aque xargs --replace echo"),
            ("aque xargs -i% echo %", "aque xargs --replace=% echo %"),
            ("aque xargs -0ti{} echo", "aque xargs -0t --replace={} echo"),
            (
                "aque xargs -l -l2 x",
                "aque xargs --max-lines --max-lines=2 x",
            ),
            ("aque xargs -e -eEND", "aque xargs --eof --eof=END"),
            ("aque xargs -n 1 -i x -i", "aque xargs -n 1 --replace x -i"),
            ("aque xargs -n1 -i x", "aque xargs -n1 --replace x"),
            ("aque xargs --name -i -i", "aque xargs --name -i --replace"),
            ("aque xargs --name=-i -i", "aque xargs --name=-i --replace"),
            ("aque xargs -I -i x", "aque xargs -I -i x"),
            ("aque xargs -di -i x", "aque xargs -di --replace x"),
            ("aque --json xargs -i x", "aque --json xargs --replace x"),
            (
                "aque --node s xargs -i x",
                "aque --node s xargs --replace x",
            ),
            (
                "aque xargs --node s -i x",
                "aque xargs --node s --replace x",
            ),
        ] {
            assert_eq!(spelled_words(line), expected);
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        for line in [
            "aque",
            "aque xargs",
            "aque xargs -- -i",
            "aque xargs echo -i",
            "aque xargs - -i",
            "aque submit -i x",
            "aque --node xargs -i",
            "aque xargs --bogus -Zn 1 echo -i",
        ] {
            assert_eq!(spelled_words(line), line);
        }
    }
}
