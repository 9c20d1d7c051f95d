//! A terminal with a person at it: a shell in a tmux of its own, its keys, and what stands on its screen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::aque::FOREIGN;
use crate::settle::settle;

/// What the shell says when it waits for a command.
const PROMPT: &str = "READY>";

/// A shell in a terminal.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Starts a shell in a terminal of this size; `None`, with a word about it, where there is no tmux.
    ///
    /// # Panics
    /// If there is one that does not work.
    #[must_use]
    pub fn start(dir: &Path, (columns, lines): (u16, u16)) -> Option<Self> {
        let there = Command::new("tmux")
            .arg("-V")
            .stdout(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no tmux, so nothing is seen of the full-screen view");
            return None;
        }
        let this = Self {
            socket: dir.join("tmux"),
        };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let shell = format!("env -u ENV PS1='{PROMPT} ' sh -i");
        this.call(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            &shell,
        ]);
        this.wait("the prompt", |screen| screen.contains(PROMPT));
        Some(this)
    }

    fn call(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(args);
        FOREIGN.iter().for_each(|name| {
            command.env_remove(name);
        });
        let done = command
            .env("TERM", "xterm-256color")
            .env_remove("TMUX")
            .output()
            .expect("tmux can be run");
        assert!(
            done.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Types text.
    pub fn write(&self, text: &str) {
        self.call(&["send-keys", "-l", text]);
    }

    /// Presses a key, as tmux calls it: `Enter`, `C-c`, `Down`.
    pub fn press(&self, key: &str) {
        self.call(&["send-keys", key]);
    }

    /// Gives the shell a command, and waits for nothing.
    pub fn command(&self, text: &str) {
        self.write(text);
        self.press("Enter");
    }

    /// Returns what stands on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.call(&["capture-pane", "-p"])
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.call(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// Waits until something is to be seen on the screen.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn wait(&self, what: &str, is_seen: impl Fn(&str) -> bool) {
        settle(&format!("{what} on the screen"), || {
            let screen = self.screen();
            match is_seen(&screen) {
                true => Ok(()),
                false => Err(format!("\n{screen}")),
            }
        });
    }

    /// Waits until the shell waits for a command again, on a terminal as it gave it away: the cursor is to be seen, and the screen is
    /// the shell's.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn wait_prompt(&self) {
        settle("the shell to have its terminal back", || {
            let facts = self.call(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
            let screen = self.screen();
            let last = screen.trim_end().lines().next_back().unwrap_or_default();
            match facts.trim() == "1 0" && last.trim_end().ends_with(PROMPT) {
                true => Ok(()),
                false => Err(format!("cursor and other screen: {facts}\n{screen}")),
            }
        });
    }

    /// Returns whether the cursor is to be seen, and whether the screen is another than the shell's.
    #[must_use]
    pub fn cursor_and_other_screen(&self) -> (bool, bool) {
        let facts = self.call(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
        let mut facts = facts.split_whitespace().map(|fact| fact == "1");
        let mut next = || facts.next().unwrap_or_default();
        (next(), next())
    }

    /// Returns the process of the shell.
    ///
    /// # Panics
    /// If tmux does not know it.
    #[must_use]
    pub fn shell(&self) -> i32 {
        let pid = self.call(&["display-message", "-p", "#{pane_pid}"]);
        pid.trim().parse().expect("tmux tells a number")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It ends with its last window, so it may have ended.
        let _ended = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}
