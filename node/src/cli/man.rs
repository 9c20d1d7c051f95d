//! `aque man`: manual pages of both programs, made of the same definitions that parse their command lines.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Context;
use super::help::TOPICS;
use super::problem::Problem;
use crate::render::text::count;

/// Print the manual page of aque, or write all pages into a directory
///
/// One for each program, for each verb of aque, and, in section 7, for each topic of 'aque help'.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where the pages go; made if it is missing
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  aque man | man -l -
  aque man ~/.local/share/man
  sudo aque man /usr/local/share/man";

/// Prints one page, or writes all.
pub(crate) fn run(context: &Context, options: Options) -> Result<u8, Problem> {
    let Some(dir) = options.dir else {
        let page = page(client(), "aque".to_owned()).map_err(|error| Problem::output(&error))?;
        return context.print(&String::from_utf8_lossy(&page)).map(|()| 0);
    };
    let written = write_all(&dir).map_err(|error| {
        Problem::failed(format!("cannot write into {}: {error}", dir.display()))
            .hint("name a directory that may be written to")
    })?;
    let pages = count(written as u64, "page");
    context.remark(&format!("aque: {pages} written below {}", dir.display()));
    Ok(0)
}

/// Both programs in full: help texts as they are printed, and all verbs with their names.
fn client() -> Command {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    command
}

fn write_all(dir: &Path) -> io::Result<usize> {
    let (programs, topics) = (dir.join("man1"), dir.join("man7"));
    std::fs::create_dir_all(&programs)?;
    std::fs::create_dir_all(&topics)?;
    let node = crate::config::Cli::command();
    let mut pages = vec![("aque-node".to_owned(), node)];
    add(client(), "aque", &mut pages);
    let mut written = 0;
    for (name, command) in pages {
        let path = programs.join(format!("{name}.1"));
        std::fs::write(path, page(command, name)?)?;
        written += 1;
    }
    for topic in TOPICS {
        let name = format!("aque-{}", topic.name);
        let mut text = Roff::default();
        text.control("TH", [name.as_str(), "7", "", "aque", ""]);
        text.control("SH", ["NAME"]);
        text.text([roman(format!("{name} - {}", topic.about))]);
        text.control("SH", ["DESCRIPTION"]);
        // As it stands in the help text.
        text.control("nf", []);
        text.text([roman((topic.text)())]);
        text.control("fi", []);
        text.control("SH", ["SEE ALSO"]);
        text.text([bold("aque"), roman("(1)")]);
        std::fs::write(topics.join(format!("{name}.7")), text.render())?;
        written += 1;
    }
    Ok(written)
}

/// Adds the page of a command and those of its verbs.
fn add(command: Command, name: &str, pages: &mut Vec<(String, Command)>) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        add(verb.clone(), &format!("{name}-{}", verb.get_name()), pages);
    }
    pages.push((name.to_owned(), command));
}

fn page(command: Command, name: String) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // The date of a page would be that of the program's build: none is better than that.
    let man = Man::new(command).title(name).date("").manual("aque");
    man.render(&mut page)?;
    Ok(page)
}
