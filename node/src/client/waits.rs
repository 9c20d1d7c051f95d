//! Waiting for tasks, also over an absence of the node that was asked.

use std::time::Duration;

use super::{Client, ClientError, Heard, Limit, Patience, Whom, strange};
use crate::api::wire::{Body, Call, Progress, TaskLine};

/// A node that has gone away is waited for at most so long by those who wait for tasks.
pub(crate) const AWAY: Duration = Duration::from_secs(30);
/// Between two tries to reach it.
pub(crate) const TRY_EVERY: Duration = Duration::from_millis(200);

impl Client {
    /// Waits until one task has ended and returns it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn wait_for(&mut self, id: &str) -> Result<TaskLine, ClientError> {
        let call = Call::Wait {
            which: vec![id.to_owned()].into(),
            any: false,
            state: None,
            each: false,
        };
        let mut last = None;
        self.wait(&call, Limit::Never, |mut progress| {
            last = progress.tasks.pop().or(last.take());
            Ok::<(), ClientError>(())
        })?;
        last.ok_or_else(|| ClientError::Garbled("a wait ended without its task".to_owned()))
    }

    /// Waits for tasks, [`Call::Wait`] with ids that mean the same whenever they are asked for, and shows how far they are. A node
    /// whose connection ends, because it changes its program (HUP) or is started again, is asked anew: it begins with those that
    /// had ended before. Returns whether it came to the end; else the limit came first.
    ///
    /// # Errors
    /// [`ClientError`], and what `show` returns.
    pub fn wait<E: From<ClientError>>(
        &mut self,
        call: &Call,
        limit: Limit,
        mut show: impl FnMut(Progress) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (mut ever, mut away) = (false, None);
        loop {
            let mut told = false;
            let mut show = |progress| {
                told = true;
                show(progress)
            };
            let lost = match self.wait_here(call, limit, &mut show) {
                Ok(ended) => return ended,
                Err(lost) => lost,
            };
            ever |= told;
            // One that has not answered yet is asked once more, and not waited for.
            if !ever && away.is_some() {
                return Err(lost.into());
            }
            let until = match away.filter(|_| !told) {
                Some(until) => until,
                None => Limit::within(AWAY),
            };
            away = Some(until);
            if limit.left().is_none() {
                return Ok(false);
            }
            self.come_back(until, lost)?;
        }
    }

    /// The same as long as the connection lasts; the error is that it ended.
    fn wait_here<E: From<ClientError>>(
        &mut self,
        call: &Call,
        limit: Limit,
        show: &mut impl FnMut(Progress) -> Result<(), E>,
    ) -> Result<Result<bool, E>, ClientError> {
        let mut replies = match self.start(call.clone()) {
            Ok(replies) => replies,
            Err(error) => return error.or_loss(),
        };
        loop {
            let shown = match replies.next_of_progress(limit) {
                Ok(Heard::Reply(Body::Progress(progress))) => show(progress),
                Ok(Heard::Reply(other)) => Err(strange("wait", &other).into()),
                Ok(Heard::Nothing) => return Ok(Ok(false)),
                Ok(Heard::End) => return Ok(Ok(true)),
                Err(error) => return error.or_loss(),
            };
            if let Err(error) = shown {
                return Ok(Err(error));
            }
        }
    }

    /// Connects again to the node whose connection was `lost`, by then at the latest.
    ///
    /// # Errors
    /// [`ClientError`]: it is not back in time, or what answers is no node.
    pub(crate) fn come_back(&mut self, until: Limit, lost: ClientError) -> Result<(), ClientError> {
        let whom = Whom {
            sockets: vec![self.socket.clone()],
            host: self.host.clone(),
            patience: Patience::of(self.patience),
        };
        let mut lost = lost;
        loop {
            let Some(left) = until.left() else {
                return Err(lost);
            };
            std::thread::sleep(left.map_or(TRY_EVERY, |left| left.min(TRY_EVERY)));
            match whom.connect() {
                Ok(client) => {
                    *self = client;
                    return Ok(());
                }
                Err(error) if error.is_passing() => lost = error,
                Err(error) => return Err(error),
            }
        }
    }
}
