//! A client of the node's socket, for what must not be measured through a program's start: JSON lines, as `docs/formats.md` says.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::Failed;

/// A connection that has been greeted.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<UnixStream>,
    asked: u64,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Failed> {
        let mut wire = Self {
            stream: BufReader::new(UnixStream::connect(socket)?),
            asked: 0,
        };
        wire.line()?;
        Ok(wire)
    }

    /// Asks, and returns all answers.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Result<Vec<Value>, Failed> {
        self.asked += 1;
        let mut line = json!({ "id": self.asked, "method": method, "params": params }).to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answers = Vec::new();
        loop {
            let answer = self.line()?;
            if let Some(error) = answer.get("error") {
                return Err(format!("{method}: {error}").into());
            }
            let last = answer["end"] == true;
            answers.push(answer);
            if last {
                return Ok(answers);
            }
        }
    }

    /// Queues one command and returns its id.
    pub(crate) fn submit(&mut self, argv: &[&str]) -> Result<String, Failed> {
        let task = json!({ "argv": argv, "cwd": "/" });
        let answers = self.ask("submit", &json!({ "tasks": [task] }))?;
        let id = answers
            .first()
            .and_then(|answer| answer["submitted"]["ids"][0].as_str());
        Ok(id
            .ok_or("a submission was answered without an id")?
            .to_owned())
    }

    /// Waits until a task or a group has ended, and returns the states of what was named.
    pub(crate) fn wait(&mut self, id: &str) -> Result<(), Failed> {
        self.ask("wait", &json!({ "ids": [id] })).map(drop)
    }

    /// Returns what a task printed.
    pub(crate) fn output(&mut self, id: &str) -> Result<String, Failed> {
        let answers = self.ask(
            "output",
            &json!({ "task": id, "only": "stdout", "follow": true }),
        )?;
        let pieces = answers
            .iter()
            .filter_map(|answer| answer["output"]["data"].as_str());
        Ok(pieces.collect())
    }

    /// Returns one of the node's own figures; 0 if it has no such figure.
    pub(crate) fn figure(&mut self, name: &str) -> Result<u64, Failed> {
        let answers = self.ask("stats", &json!({}))?;
        Ok(answers
            .first()
            .and_then(|answer| answer["stats"]["values"][name].as_u64())
            .unwrap_or_default())
    }

    fn line(&mut self) -> Result<Value, Failed> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the node ended the connection".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
