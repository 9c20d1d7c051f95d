//! What happens, told over the ends of connections: a node that changes its program (HUP) or is started anew is asked again,
//! from where the telling stopped.
//!
//! Nothing is lost in silence: the node tells of a gap what it cannot tell.

use std::time::{Duration, Instant};

use crate::api::news::{EventList, EventsQuery};
use crate::api::wire::{Body, Call, Reply};
use crate::client::{Client, ClientError, Limit, TRY_EVERY, Whom, strange};

/// What comes of waiting for what happens.
#[derive(Debug)]
pub enum Told {
    /// Some of it.
    Events(EventList),
    /// The limit has come.
    Nothing,
    /// The node cannot be reached; it is tried again with every further call.
    Away(ClientError),
    /// It can be reached again.
    Back,
    /// All is told that was asked for.
    End,
}

/// A reader of what happens.
#[derive(Debug)]
pub struct Feed {
    whom: Whom,
    node: String,
    query: EventsQuery,
    link: Link,
}

#[derive(Debug)]
enum Link {
    /// It is there, and has begun to tell.
    Begun(Box<Client>, Reply),
    Up(Box<Client>),
    /// Since then.
    Away(Instant),
    Ended,
}

impl Feed {
    /// Begins to read: the node has told where it begins, or what stands in the way.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn begin(whom: &Whom, query: EventsQuery) -> Result<Self, ClientError> {
        let (client, first) = match ask(whom, &query) {
            // The node was just changing its program.
            Err(ClientError::Closed | ClientError::Io(_)) => ask(whom, &query)?,
            asked => asked?,
        };
        Ok(Self {
            // The same node from now on, though another may be there as well.
            whom: Whom {
                sockets: vec![client.socket().to_owned()],
                ..whom.clone()
            },
            node: client.hello().node.clone(),
            query,
            link: Link::Begun(Box::new(client), first),
        })
    }

    /// Returns which node is read.
    #[must_use]
    pub fn whom(&self) -> &Whom {
        &self.whom
    }

    /// Returns what people call that node, as it greeted first.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Waits for more. After [`Told::Away`] it goes on trying.
    ///
    /// # Errors
    /// What cannot be mended: a refusal, or what answers is no node.
    pub fn next(&mut self, limit: Limit) -> Result<Told, ClientError> {
        let reply = match std::mem::replace(&mut self.link, Link::Ended) {
            Link::Ended => return Ok(Told::End),
            Link::Away(since) => return self.again(since, limit),
            Link::Begun(client, first) => {
                self.link = Link::Up(client);
                first
            }
            Link::Up(mut client) => {
                let heard = client.heard(limit);
                self.link = Link::Up(client);
                match heard {
                    Ok(Some(reply)) => reply,
                    Ok(None) => return Ok(Told::Nothing),
                    Err(error) => return self.lose(error),
                }
            }
        };
        match reply.body {
            Body::Events(list) => {
                self.query.after = Some(list.place);
                if reply.end {
                    self.link = Link::Ended;
                }
                Ok(Told::Events(list))
            }
            Body::Error(failure) => Err(ClientError::Refused(failure)),
            other => Err(strange("events", &other)),
        }
    }

    /// Returns for how long the node has been away, if it is.
    #[must_use]
    pub fn away(&self) -> Option<Duration> {
        match self.link {
            Link::Away(since) => Some(since.elapsed()),
            Link::Begun(..) | Link::Up(_) | Link::Ended => None,
        }
    }

    fn lose(&mut self, error: ClientError) -> Result<Told, ClientError> {
        if !error.is_passing() {
            return Err(error);
        }
        self.link = Link::Away(Instant::now());
        Ok(Told::Away(error))
    }

    fn again(&mut self, since: Instant, limit: Limit) -> Result<Told, ClientError> {
        self.link = Link::Away(since);
        match ask(&self.whom, &self.query) {
            Ok((client, first)) => {
                self.link = Link::Begun(Box::new(client), first);
                Ok(Told::Back)
            }
            Err(error) if error.is_passing() => {
                let pause = limit.left().unwrap_or(Some(Duration::ZERO));
                std::thread::sleep(pause.map_or(TRY_EVERY, |left| left.min(TRY_EVERY)));
                Ok(Told::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}

/// Asks, and waits for the first answer, which comes at once: it tells where the telling begins.
fn ask(whom: &Whom, query: &EventsQuery) -> Result<(Client, Reply), ClientError> {
    let patience = whom.patience.answer();
    let mut client = whom.connect()?;
    client.open(Call::Events(query.clone()))?;
    let first = client.heard(Limit::within(patience))?;
    Ok((client, first.ok_or(ClientError::Silent(patience))?))
}
