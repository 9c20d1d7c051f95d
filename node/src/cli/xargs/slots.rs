//! `--process-slot-var`: each command finds a number in its environment that no other has which runs at the same time.
//!
//! Nobody in the mesh hands out such numbers, so this program does, as GNU xargs does: a command is submitted once a number is
//! free, and its number is free again when it has ended. `-P` is how many there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crdt::task::Arg;

use super::judge::{Ending, judge};
use crate::api::wire::{Body, Call};
use crate::cli::Context;
use crate::cli::problem::Problem;
use crate::client::{Client, Heard, Limit, strange};

/// What is heard of commands that were submitted.
#[derive(Debug)]
enum News {
    /// One has ended.
    Ended(String),
    /// One has ended so that nothing more is to be started.
    Fatal,
}

/// Whether more is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Nowhere,
}

/// What comes of asking for numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// These are free, one at least.
    Numbers(Vec<u32>),
    /// Nothing more is to be started.
    Stop,
    /// Nothing is heard of the commands any more.
    Deaf,
}

/// The numbers of commands that run at the same time.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The variable that holds the number.
    pub(crate) variable: Arg,
    /// How many there are; 0 = as many as it takes.
    most: u32,
    /// Numbers from here on were never given.
    next: u32,
    free: BinaryHeap<Reverse<u32>>,
    given: BTreeMap<String, u32>,
    news: Option<Receiver<News>>,
}

impl Slots {
    /// Numbers `most` commands at a time, in `variable`; 0 = all of them.
    pub(crate) fn new(variable: Arg, most: u32) -> Self {
        Self {
            variable,
            most,
            next: 0,
            free: BinaryHeap::new(),
            given: BTreeMap::new(),
            news: None,
        }
    }

    /// Listens for ends of the group's members; again does nothing.
    ///
    /// # Errors
    /// No node answers, or no thread is left.
    pub(crate) fn listen(&mut self, context: &Context, group: &str) -> Result<(), Problem> {
        if self.news.is_some() {
            return Ok(());
        }
        let (tell, news) = channel();
        let (mut client, group) = (context.connect()?, group.to_owned());
        // Not joined: it ends with the group, or with the program. When it cannot listen, the channel is closed.
        let listen = move || drop(hear(&mut client, &group, &tell));
        let thread = thread::Builder::new().name("slots".into()).spawn(listen);
        thread.map_err(|error| Problem::failed(format!("cannot start a thread: {error}")))?;
        self.news = Some(news);
        Ok(())
    }

    /// Waits until a number is free, and takes as many as are, at most `wanted`, the least first.
    pub(crate) fn take(&mut self, wanted: usize) -> Taken {
        loop {
            while let Some(Ok(news)) = self.news.as_ref().map(Receiver::try_recv) {
                if self.note(news) == Goes::Nowhere {
                    return Taken::Stop;
                }
            }
            let mut numbers = Vec::new();
            while numbers.len() < wanted
                && let Some(number) = self.take_one()
            {
                numbers.push(number);
            }
            if !numbers.is_empty() {
                return Taken::Numbers(numbers);
            }
            let Some(Ok(news)) = self.news.as_ref().map(Receiver::recv) else {
                return Taken::Deaf;
            };
            if self.note(news) == Goes::Nowhere {
                return Taken::Stop;
            }
        }
    }

    /// Notes which command has which number.
    pub(crate) fn give(&mut self, id: String, number: u32) {
        self.given.insert(id, number);
    }

    fn take_one(&mut self) -> Option<u32> {
        if let Some(Reverse(number)) = self.free.pop() {
            return Some(number);
        }
        (self.most == 0 || self.next < self.most).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes a number back, if that is the news.
    fn note(&mut self, news: News) -> Goes {
        match news {
            News::Ended(id) => {
                self.free.extend(self.given.remove(&id).map(Reverse));
                Goes::On
            }
            News::Fatal => Goes::Nowhere,
        }
    }
}

fn hear(client: &mut Client, group: &str, tell: &Sender<News>) -> Result<(), Problem> {
    let mut replies = client.start(Call::Wait {
        which: vec![group.to_owned()].into(),
        any: false,
        state: None,
        each: true,
    })?;
    loop {
        match replies.next_of_progress(Limit::Never)? {
            Heard::Reply(Body::Progress(progress)) => {
                for line in progress.tasks.iter().filter(|line| line.id != group) {
                    let news = match judge(line) {
                        Ending::Fatal { .. } => News::Fatal,
                        Ending::Well | Ending::Badly => News::Ended(line.id.clone()),
                    };
                    if tell.send(news).is_err() {
                        return Ok(());
                    }
                }
            }
            Heard::Reply(other) => return Err(strange("wait", &other).into()),
            Heard::Nothing | Heard::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(slots: &mut Slots) -> Sender<News> {
        let (tell, news) = channel();
        slots.news = Some(news);
        tell
    }

    fn end(tell: &Sender<News>, id: &str) {
        assert!(tell.send(News::Ended(id.to_owned())).is_ok());
    }

    #[test]
    fn the_least_free_numbers_are_taken() {
        let mut slots = Slots::new("SLOT".into(), 3);
        let tell = told(&mut slots);
        assert_eq!(slots.take(2), Taken::Numbers(vec![0, 1]));
        assert_eq!(slots.take(9), Taken::Numbers(vec![2]));
        for (number, id) in ["a-1", "a-2", "a-3"].into_iter().enumerate() {
            slots.give(id.to_owned(), u32::try_from(number).unwrap_or(9));
        }
        end(&tell, "a-3");
        end(&tell, "a-1");
        end(&tell, "of-another");
        assert_eq!(slots.take(1), Taken::Numbers(vec![0]));
        assert_eq!(slots.take(1), Taken::Numbers(vec![2]));
        drop(tell);
        assert_eq!(slots.take(1), Taken::Deaf);
    }

    #[test]
    fn without_a_limit_there_is_always_a_number() {
        let mut slots = Slots::new("SLOT".into(), 0);
        assert_eq!(slots.take(2), Taken::Numbers(vec![0, 1]));
        assert_eq!(slots.take(1), Taken::Numbers(vec![2]));
    }

    #[test]
    fn a_fatal_end_is_the_last() {
        let mut slots = Slots::new("SLOT".into(), 1);
        let tell = told(&mut slots);
        assert_eq!(slots.take(1), Taken::Numbers(vec![0]));
        assert!(tell.send(News::Fatal).is_ok());
        assert_eq!(slots.take(1), Taken::Stop);
    }
}
