//! The questions that have one answer each.

use super::{AWAY, Client, ClientError, Heard, Limit, strange};
use crate::api::select::Selection;
use crate::api::wire::{
    Assigned, Body, Call, Checkup, Closed, Details, DutyWord, Invitation, Nodes, Noted, QueueList,
    Reasons, SettingLine, SettingList, StatusQuery, Submission, Submitted, Tasks,
};

impl Client {
    /// Queues tasks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn submit(&mut self, submission: Submission) -> Result<Submitted, ClientError> {
        match self.ask(Call::Submit(submission))? {
            Body::Submitted(submitted) => Ok(submitted),
            other => Err(strange("submit", &other)),
        }
    }

    /// Lists tasks, all pages of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self, query: StatusQuery) -> Result<Tasks, ClientError> {
        let mut list = Tasks {
            tasks: Vec::new(),
            more: 0,
        };
        let mut replies = self.start(Call::Status(query))?;
        loop {
            match replies.next_soon()? {
                Heard::Reply(Body::Tasks(page)) => {
                    list.tasks.extend(page.tasks);
                    list.more = page.more;
                }
                Heard::Reply(other) => return Err(strange("status", &other)),
                Heard::Nothing | Heard::End => return Ok(list),
            }
        }
    }

    /// Returns everything known of some tasks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn show(&mut self, which: impl Into<Selection>) -> Result<Details, ClientError> {
        let which = which.into();
        match self.ask(Call::Show { which })? {
            Body::Details(details) => Ok(details),
            other => Err(strange("show", &other)),
        }
    }

    /// Wants something of tasks: [`Call::Kill`], [`Call::Retry`], [`Call::Hold`], [`Call::Release`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn want(&mut self, call: Call) -> Result<Noted, ClientError> {
        match self.ask(call)? {
            Body::Noted(noted) => Ok(noted),
            other => Err(strange("a wish about tasks", &other)),
        }
    }

    /// Returns why a task does not run: [`Call::Explain`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn explain(&mut self, call: Call) -> Result<Reasons, ClientError> {
        match self.ask(call)? {
            Body::Reasons(reasons) => Ok(*reasons),
            other => Err(strange("explain", &other)),
        }
    }

    /// Returns what people stated for the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn settings(&mut self) -> Result<SettingList, ClientError> {
        match self.ask(Call::Settings {})? {
            Body::Settings(list) => Ok(list),
            other => Err(strange("settings", &other)),
        }
    }

    /// Changes a setting of the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(&mut self, name: String, value: Option<String>) -> Result<SettingLine, ClientError> {
        match self.ask(Call::Set { name, value })? {
            Body::Set(line) => Ok(line),
            other => Err(strange("set", &other)),
        }
    }

    /// Returns the named queues.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn queues(&mut self) -> Result<QueueList, ClientError> {
        match self.ask(Call::Queues {})? {
            Body::Queues(list) => Ok(list),
            other => Err(strange("queues", &other)),
        }
    }

    /// Wants something of a host: the one called so by name or tag, or the one asked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn assign(
        &mut self,
        node: Option<String>,
        duty: DutyWord,
    ) -> Result<Assigned, ClientError> {
        match self.ask(Call::Assign { node, duty })? {
            Body::Assigned(assigned) => Ok(assigned),
            other => Err(strange("assign", &other)),
        }
    }

    /// Tells that a group has all its members; a node that has gone away meanwhile is told when it is back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn close(&mut self, group: String, size: u32) -> Result<Closed, ClientError> {
        let call = Call::Close { group, size };
        let answer = match self.ask(call.clone()) {
            // It may be closed already, and is closed again.
            Err(lost) if lost.is_loss() => {
                self.come_back(Limit::within(AWAY), lost)?;
                self.ask(call)?
            }
            answer => answer?,
        };
        match answer {
            Body::Closed(closed) => Ok(closed),
            other => Err(strange("close", &other)),
        }
    }

    /// Returns what the node says of its health.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn doctor(&mut self) -> Result<Checkup, ClientError> {
        match self.ask(Call::Doctor {})? {
            Body::Checkup(checkup) => Ok(checkup),
            other => Err(strange("doctor", &other)),
        }
    }

    /// Returns the hosts of the mesh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn nodes(&mut self) -> Result<Nodes, ClientError> {
        match self.ask(Call::Nodes {})? {
            Body::Nodes(nodes) => Ok(nodes),
            other => Err(strange("nodes", &other)),
        }
    }

    /// Returns a ticket for a new host.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn invite(&mut self) -> Result<Invitation, ClientError> {
        match self.ask(Call::Invite {})? {
            Body::Invitation(invitation) => Ok(invitation),
            other => Err(strange("invite", &other)),
        }
    }
}
