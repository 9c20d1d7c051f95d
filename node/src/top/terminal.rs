//! The terminal: taken over, drawn on, and given back as it was, whatever ends the program or stops it for a while.
//!
//! Only what differs from what is shown is written. The terminal is never asked anything: an answer would come in the way of keys.

use std::io::{self, IsTerminal, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::crossterm::{cursor, execute};
use ratatui::layout::Rect;

use super::state::State;
use super::view::{Look, draw};

/// Whether the terminal is taken over now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Says whether a person sits at standard input and output.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// A terminal that is taken over, until this is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    backend: CrosstermBackend<Stdout>,
    shown: Buffer,
}

impl Terminal {
    /// Takes the terminal over. A panic of any thread gives it back and ends the program.
    ///
    /// # Errors
    /// The kernel's; the terminal is as it was.
    pub(crate) fn take() -> io::Result<Self> {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            others(panic);
            std::process::exit(PANICKED);
        }));
        let this = Self {
            backend: CrosstermBackend::new(io::stdout()),
            shown: Buffer::default(),
        };
        take_over()?;
        Ok(this)
    }

    /// Takes it over again after it was given back, or after others may have had it.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn take_again(&mut self) -> io::Result<()> {
        give_back();
        self.shown = Buffer::default();
        take_over()
    }

    /// Returns its columns and lines.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn size() -> io::Result<(u16, u16)> {
        size()
    }

    /// Shows a state.
    ///
    /// # Errors
    /// The kernel's: the terminal is gone, perhaps.
    pub(crate) fn show(&mut self, state: &State, look: &Look) -> io::Result<()> {
        let area = Rect::new(0, 0, state.size.0, state.size.1);
        let mut next = Buffer::empty(area);
        let cursor = draw(state, look, &mut next);
        if self.shown.area != area {
            self.backend.clear()?;
            self.shown = Buffer::empty(area);
        }
        self.backend.draw(self.shown.diff(&next).into_iter())?;
        match cursor {
            Some(at) => {
                self.backend.set_cursor_position(at)?;
                self.backend.show_cursor()?;
            }
            None => self.backend.hide_cursor()?,
        }
        Backend::flush(&mut self.backend)?;
        self.shown = next;
        Ok(())
    }
}

/// Exit status of a program that panicked, as that of any other.
const PANICKED: i32 = 101;

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    let done = enable_raw_mode().and_then(|()| {
        execute!(
            io::stdout(),
            EnterAlternateScreen,
            EnableBracketedPaste,
            cursor::Hide
        )
    });
    if done.is_err() {
        give_back();
    }
    done
}

/// Gives the terminal back as it was, if it is taken over.
pub(crate) fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone needs nothing.
    let _shown = execute!(
        io::stdout(),
        cursor::Show,
        DisableBracketedPaste,
        LeaveAlternateScreen
    );
    let _cooked = disable_raw_mode();
}
