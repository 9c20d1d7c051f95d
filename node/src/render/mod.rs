//! What people see: the terminal's facts, colours, tables, progress, and the rule that a closed pipe ends quietly.
//!
//! Everything that is composed here goes through [`Screen`]; outputs of tasks do not: they are passed on as they are.
//! Text from afar (names, commands, reasons) is made harmless first, so that it cannot steer the terminal.

pub mod happening;
pub mod progress;
pub mod table;
pub mod text;

use std::io::{self, IsTerminal, Write};

use anstream::ColorChoice;
use serde::Serialize;

/// What standard output is.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    width: Option<u16>,
}

impl Screen {
    /// Looks at standard output, and settles when there are colours: `choice`, else by terminal and `NO_COLOR`.
    #[must_use]
    pub fn new(choice: ColorChoice) -> Self {
        choice.write_global();
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| terminal_width(&stdout));
        Self { width }
    }

    /// Returns the terminal's width; `None` where output goes elsewhere and nothing must be cut.
    #[must_use]
    pub fn width(&self) -> Option<u16> {
        self.width
    }

    /// Says whether there are colours on standard output.
    #[must_use]
    pub fn has_colours(&self) -> bool {
        anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never
    }

    /// Writes text with colours, which are removed where they are not wanted; all of it in one piece, not line by line.
    ///
    /// # Errors
    /// The kernel's, a closed pipe among them.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.has_colours() {
            true => out.write_all(text.as_bytes())?,
            false => {
                let plain = anstream::adapter::strip_str(text).to_string();
                out.write_all(plain.as_bytes())?;
            }
        }
        out.flush()
    }

    /// Writes text for programs as it is; on a terminal, which it must not steer, as people can see it.
    ///
    /// # Errors
    /// The kernel's, a closed pipe among them.
    pub fn pass(&self, text: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.width {
            None => out.write_all(text)?,
            Some(_) => {
                for line in String::from_utf8_lossy(text).lines() {
                    writeln!(out, "{}", text::harmless(line))?;
                }
            }
        }
        out.flush()
    }

    /// Writes one JSON document and a line end: indented for a terminal, on one line elsewhere.
    ///
    /// # Errors
    /// The kernel's, a closed pipe among them.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self.width {
            Some(_) => serde_json::to_writer_pretty(&mut out, value)?,
            None => serde_json::to_writer(&mut out, value)?,
        }
        out.write_all(b"\n")?;
        out.flush()
    }
}

/// Tells a person something beside the output, on one line of standard error.
pub fn note(text: &str) {
    // Without a reader there is nobody to tell.
    let _told = writeln!(anstream::stderr(), "{text}");
}

/// Returns how wide the terminal behind a stream is: by `COLUMNS`, else by what it says, else 80.
fn terminal_width(stream: &impl std::os::fd::AsFd) -> u16 {
    let asked = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let size = || {
        rustix::termios::tcgetwinsize(stream)
            .ok()
            .map(|size| size.ws_col)
    };
    asked.or_else(size).filter(|width| *width > 0).unwrap_or(80)
}
