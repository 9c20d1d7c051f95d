//! May the program on disk follow this one? It is run with a hidden verb and the words of this start, and says what it
//! understands and where it would work. It changes nothing, and its silence is an answer.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::origin::Origin;
use crate::formats::{Formats, Strange};

/// The hidden verb.
pub(in crate::daemon) const VERB: &str = "formats";
/// How long the program on disk may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer, or of an error, that are read.
const MOST_BYTES: u64 = 16 << 10;

/// What a program says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::daemon) struct Card {
    /// Its version.
    pub(in crate::daemon) version: String,
    /// The data directory in which it would work.
    pub(in crate::daemon) data: PathBuf,
    /// What it understands.
    pub(in crate::daemon) formats: Formats,
}

/// A program that can follow.
#[derive(Debug)]
pub(in crate::daemon) struct Successor {
    origin: Origin,
    version: String,
}

impl Successor {
    /// Its version.
    pub(in crate::daemon) fn version(&self) -> &str {
        &self.version
    }

    /// Where it lies.
    pub(in crate::daemon) fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Why a program cannot follow.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum Unfit {
    /// It cannot be executed.
    #[error("it cannot be executed: {0}")]
    Missing(io::Error),
    /// It has not answered, and was killed.
    #[error("it has not answered for {PATIENCE:?}")]
    Silent,
    /// It ended otherwise than well: no node, one that does not know the verb, or one that finds fault with its settings.
    #[error("it ended with {status}{}", said(.errors))]
    Failed { status: ExitStatus, errors: String },
    /// Its answer makes no sense.
    #[error("it does not answer as a node: {0}")]
    NoNode(serde_json::Error),
    /// It does not understand what this one has written.
    #[error(transparent)]
    Strange(#[from] Strange),
    /// It would work elsewhere.
    #[error("its settings name another data directory, {}: stop this node and start that one", .0.display())]
    Elsewhere(PathBuf),
    /// Nobody asked it to the end.
    #[error("the question was not finished")]
    Dropped,
}

fn said(errors: &str) -> String {
    let lines: Vec<&str> = errors
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(": {}", lines.join("; "))
}

/// Asks the program that lies where this one was started from. Safe to drop: it is killed then.
///
/// # Errors
/// [`Unfit`].
pub(in crate::daemon) async fn ask(origin: Origin, data: &Path) -> Result<Successor, Unfit> {
    let mut command = Command::from(origin.asking(VERB));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let answer = tokio::time::timeout(PATIENCE, hear(command));
    let (status, answer, errors) = answer
        .await
        .map_err(|_late| Unfit::Silent)?
        .map_err(Unfit::Missing)?;
    if !status.success() {
        return Err(Unfit::Failed { status, errors });
    }
    let card: Card = serde_json::from_str(&answer).map_err(Unfit::NoNode)?;
    card.formats.can_follow()?;
    if card.data != data {
        return Err(Unfit::Elsewhere(card.data));
    }
    Ok(Successor {
        origin,
        version: card.version,
    })
}

/// Runs a program to its end. Returns the beginning of its output and of its errors.
async fn hear(mut command: Command) -> io::Result<(ExitStatus, String, String)> {
    let mut child = command.spawn()?;
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let (answer, errors) = tokio::join!(beginning(out), beginning(errors));
    Ok((child.wait().await?, answer?, errors?))
}

/// Reads so much; who says more has its pipe closed.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MOST_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    async fn heard(script: &str) -> (ExitStatus, String, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        hear(command).await.unwrap()
    }

    #[tokio::test]
    async fn who_talks_without_end_is_heard_so_far() {
        let (status, answer, _) = heard("exec yes").await;
        assert!(!status.success());
        assert_eq!(answer.len() as u64, MOST_BYTES);
        let (status, answer, errors) = heard("echo one; echo two >&2; exit 3").await;
        assert_eq!((answer.as_str(), errors.as_str()), ("one\n", "two\n"));
        let why = Unfit::Failed { status, errors }.to_string();
        assert_eq!(why, "it ended with exit status: 3: two");
    }
}
