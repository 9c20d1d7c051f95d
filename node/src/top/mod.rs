//! The full-screen view: tasks, hosts, and what happens, as it happens. `aque top`, `aque status --watch`, `aque nodes --watch`.
//!
//! `state` is a pure function from messages to what is shown and what is to be done; `view` draws it into a buffer; `layout` says
//! which line is for what; `input` makes messages of keys, `link` of what the node says, `terminal` has the terminal. This file puts
//! them together: one queue of messages, one thread that takes them.
//!
//! It lives by what the node tells of what happens, and asks for the rows on the screen alone, so it costs the same for ten tasks
//! and for a hundred thousand.

#[cfg(test)]
mod fixture;
mod input;
mod layout;
mod link;
mod state;
mod terminal;
mod view;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ratatui::crossterm::event;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

pub(crate) use state::{Beginning, Tab};
pub(crate) use view::Paint;

use self::link::Link;
use self::state::{Message, Order, State};
use self::terminal::Terminal;
use self::view::Look;
use crate::client::{ClientError, Whom};
use crate::clock::wall_ms;

/// Messages that wait for the screen; who has more waits.
const MESSAGES: usize = 256;
/// How often times on the screen go on.
const TICK: Duration = Duration::from_secs(1);

/// Why there is no view, or no longer one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// Nobody sits there.
    #[error("a full-screen view needs a terminal")]
    NoTerminal,
    /// The terminal fails.
    #[error("the terminal failed: {0}")]
    Terminal(#[from] io::Error),
    /// The node cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Shows the view until a person leaves it. Returns the exit status.
///
/// # Errors
/// See [`TopError`]. The terminal is as it was.
pub(crate) fn run(whom: &Whom, paint: Paint, beginning: Beginning) -> Result<u8, TopError> {
    if !terminal::is_there() {
        return Err(TopError::NoTerminal);
    }
    let feed = link::feed(whom)?;
    let node = feed.node().to_owned();
    let (tell, messages) = sync_channel(MESSAGES);
    let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT])?;
    let terminal = Terminal::take()?;
    let link = Link::begin(feed, tell.clone())?;
    spawn("signals", signals, tell.clone(), hear_signals)?;
    spawn("keys", (), tell, hear_keys)?;
    let (state, orders) = State::begin(node, Terminal::size()?, wall_ms(), beginning);
    let view = View {
        state,
        link,
        terminal,
        look: Look {
            paint,
            zone: TimeZone::system(),
        },
    };
    view.run(orders, &messages)
}

/// All of it.
struct View {
    state: State,
    link: Link,
    terminal: Terminal,
    look: Look,
}

impl View {
    fn run(mut self, orders: Vec<Order>, messages: &Receiver<Message>) -> Result<u8, TopError> {
        let mut tick = Instant::now() + TICK;
        if let Some(status) = self.carry_out(orders)? {
            return Ok(status);
        }
        loop {
            self.terminal.show(&self.state, &self.look)?;
            let left = tick.saturating_duration_since(Instant::now());
            let first = match messages.recv_timeout(left) {
                Ok(message) => message,
                // Without anybody who tells anything, there is still the time.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tick = Instant::now() + TICK;
                    Message::Tick(wall_ms())
                }
            };
            // What has gathered is shown at once.
            let gathered = messages.try_iter().take(MESSAGES);
            for message in std::iter::once(first).chain(gathered) {
                let orders = self.state.update(message);
                if let Some(status) = self.carry_out(orders)? {
                    return Ok(status);
                }
            }
        }
    }

    /// Does what is to be done; returns the exit status if that is to end.
    fn carry_out(&mut self, orders: Vec<Order>) -> Result<Option<u8>, TopError> {
        for order in orders {
            match order {
                Order::Leave(status) => return Ok(Some(status)),
                Order::Suspend => self.suspend()?,
                Order::TakeAgain => self.take_again()?,
                order => self.link.carry_out(order)?,
            }
        }
        Ok(None)
    }

    /// Stops until somebody lets the program go on.
    fn suspend(&mut self) -> Result<(), TopError> {
        terminal::give_back();
        signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
        self.take_again()
    }

    fn take_again(&mut self) -> Result<(), TopError> {
        self.terminal.take_again()?;
        let (columns, lines) = Terminal::size()?;
        let orders = self.state.update(Message::Resized(columns, lines));
        for order in orders {
            self.link.carry_out(order)?;
        }
        Ok(())
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    from: T,
    tell: SyncSender<Message>,
    hear: fn(T, &SyncSender<Message>),
) -> io::Result<()> {
    let spawned = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || hear(from, &tell));
    spawned.map(|_detached| ())
}

fn hear_signals(mut signals: Signals, tell: &SyncSender<Message>) {
    for signal in signals.forever() {
        let message = match signal {
            SIGTSTP => Message::Suspend,
            SIGCONT => Message::Continued,
            // As a shell shows it.
            other => Message::Leave(u8::try_from(128 + other).unwrap_or(u8::MAX)),
        };
        if tell.send(message).is_err() {
            return;
        }
    }
}

fn hear_keys((): (), tell: &SyncSender<Message>) {
    loop {
        let message = match event::read() {
            Ok(event) => input::message(event),
            // The terminal is gone.
            Err(_) => Some(Message::Leave(128 + HANGED_UP)),
        };
        let is_last = matches!(message, Some(Message::Leave(_)));
        let told = message.map_or(Ok(()), |message| tell.send(message));
        if told.is_err() || is_last {
            return;
        }
    }
}

/// The number of SIGHUP.
const HANGED_UP: u8 = 1;
