//! Command lines that cannot be read: what is wrong with them in one line.

use std::ffi::OsString;

/// What clap says of numbers, and what people are told.
const PLAINLY: [(&str, &str); 3] = [
    ("invalid digit found in string", "it is no whole number"),
    (
        "cannot parse integer from empty string",
        "it is no whole number",
    ),
    ("invalid float literal", "it is no number"),
];

/// Returns what is wrong, in one line.
pub(crate) fn mistake(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if !line.is_empty() {
            parts.push(line.strip_prefix("tip: ").unwrap_or(line));
        }
    }
    let what = parts.join("; ").replace(":; ", ": ");
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    PLAINLY
        .iter()
        .fold(what, |what, (clap, plain)| what.replace(clap, plain))
}

/// Returns what to do about it: see the help of the verb that was meant.
pub(crate) fn remedy(program: &clap::Command, words: &[OsString]) -> String {
    let mut of = program;
    let mut path = program.get_name().to_owned();
    for word in words.iter().skip(1) {
        if let Some(verb) = word.to_str().and_then(|word| of.find_subcommand(word)) {
            of = verb;
            path = format!("{path} {}", verb.get_name());
        }
    }
    format!("try '{path} --help'")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use clap::{Arg, Command, value_parser};

    use super::*;

    #[test]
    fn mistakes_are_one_line_with_the_help_of_their_verb() {
        let number = Arg::new("times")
            .long("times")
            .value_parser(value_parser!(u32));
        let verb = Command::new("sing").visible_alias("hum").arg(number);
        let song = Command::new("song").subcommand(Command::new("end"));
        let program = Command::new("bird").subcommands([verb, song]);
        for (words, line) in [
            (
                &["bird", "hum", "--times", "x"][..],
                "invalid value 'x' for '--times <times>': it is no whole number; try 'bird sing --help'",
            ),
            (
                &["bird", "fly"],
                "unrecognized subcommand 'fly'; try 'bird --help'",
            ),
            (
                &["bird", "song", "end", "now"],
                "unexpected argument 'now' found; try 'bird song end --help'",
            ),
        ] {
            let error = program.clone().try_get_matches_from(words).unwrap_err();
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let told = format!("{}; {}", mistake(&error), remedy(&program, &words));
            assert_eq!(told, line);
        }
    }
}
