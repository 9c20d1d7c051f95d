//! Environments that many runs share: sent to the guard once, then named by a number.

use std::collections::HashMap;

use crate::guard::{EnvId, Request, Var};

/// Most environments that a guard keeps at a time. A guess: tasks of one submission share one.
const MOST: usize = 256;

/// Most bytes of environments that a guard keeps at a time; one that is larger is kept alone.
const MOST_BYTES: usize = 8 << 20;

/// The variables of a run's environment, known by their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    digest: blake3::Hash,
    vars: Vec<Var>,
    bytes: usize,
}

impl Environment {
    /// Takes the variables in the order in which runs are to find them.
    #[must_use]
    pub fn new(vars: Vec<Var>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in vars.iter().flat_map(|(name, value)| [name, value]) {
            hasher
                .update(&(text.len() as u64).to_le_bytes())
                .update(text);
        }
        let bytes = vars
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        Self {
            digest: hasher.finalize(),
            vars,
            bytes,
        }
    }

    /// The variables.
    #[must_use]
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// What it takes of the space for arguments and environment.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What one guard knows.
#[derive(Debug, Default)]
pub(super) struct Defined {
    known: HashMap<blake3::Hash, Known>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Known {
    id: EnvId,
    bytes: usize,
    used: u64,
}

impl Defined {
    /// Returns the number of an environment, after the requests that make the guard know it.
    pub(super) fn name(&mut self, env: &Environment) -> (EnvId, Vec<Request>) {
        self.clock += 1;
        if let Some(known) = self.known.get_mut(&env.digest) {
            known.used = self.clock;
            return (known.id, Vec::new());
        }
        let mut requests = Vec::new();
        while self.known.len() >= MOST || (self.bytes + env.bytes > MOST_BYTES && self.bytes > 0) {
            requests.extend(self.forget_oldest());
        }
        let id = EnvId(self.clock);
        self.known.insert(
            env.digest,
            Known {
                id,
                bytes: env.bytes,
                used: self.clock,
            },
        );
        self.bytes += env.bytes;
        requests.push(Request::DefineEnv {
            id,
            vars: env.vars.clone(),
        });
        (id, requests)
    }

    fn forget_oldest(&mut self) -> Option<Request> {
        let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
        let digest = *oldest?.0;
        let known = self.known.remove(&digest)?;
        self.bytes -= known.bytes;
        Some(Request::ForgetEnv { id: known.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, bytes: usize) -> Environment {
        Environment::new(vec![(name.into(), vec![b'x'; bytes])])
    }

    #[test]
    fn defined_once_and_forgotten_by_use() {
        let mut defined = Defined::default();
        let (first, requests) = defined.name(&env("A", 1));
        assert_eq!(requests.len(), 1);
        assert_eq!(defined.name(&env("A", 1)), (first, vec![]));
        for i in 1..MOST {
            defined.name(&env(&format!("V{i}"), 1));
        }
        defined.name(&env("A", 1));
        let (_, requests) = defined.name(&env("B", 1));
        assert!(matches!(requests[..], [Request::ForgetEnv { id }, _] if id != first));
        assert_eq!(defined.known.len(), MOST);
    }

    #[test]
    fn bounded_by_bytes() {
        let mut defined = Defined::default();
        for i in 0..20 {
            defined.name(&env(&format!("V{i}"), MOST_BYTES / 4));
            assert!(defined.bytes <= MOST_BYTES);
        }
        assert_eq!(defined.known.len(), 3);
    }

    #[test]
    fn digest_tells_names_from_values() {
        let one = Environment::new(vec![(b"AB".to_vec(), b"C".to_vec())]);
        let two = Environment::new(vec![(b"A".to_vec(), b"BC".to_vec())]);
        assert_ne!(one.digest, two.digest);
    }
}
