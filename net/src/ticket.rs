//! Tickets: one line that lets a host join. It holds the mesh's secret and some addresses, so it is
//! as good as a key.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::error::TicketError;
use crate::identity::MeshSecret;

/// The most addresses of a ticket.
const ADDRESSES: usize = 8;
const PREFIX: &str = "aque";
const VERSION: &str = "1";

/// What a host needs to join a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The mesh's secret.
    pub secret: MeshSecret,
    /// Where members listen: at most eight.
    pub addrs: Vec<Multiaddr>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    secret: [u8; 32],
    addrs: Vec<Vec<u8>>,
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = blake3::derive_key("aque 2026 ticket", bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addrs = self
            .addrs
            .iter()
            .take(ADDRESSES)
            .map(Multiaddr::to_vec)
            .collect();
        let body = Body {
            secret: self.secret.0,
            addrs,
        };
        let mut bytes = postcard::to_stdvec(&body).map_err(|_| fmt::Error)?;
        let sum = checksum(&bytes);
        bytes.extend(sum);
        write!(
            f,
            "{PREFIX}{VERSION}{}",
            BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
        )
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let rest = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(TicketError::Foreign)?;
        let rest = rest.strip_prefix(VERSION).ok_or_else(|| {
            let numbered = rest.starts_with(|first: char| first.is_ascii_digit());
            if numbered {
                TicketError::Version
            } else {
                TicketError::Foreign
            }
        })?;
        let bytes = BASE32_NOPAD
            .decode(rest.to_ascii_uppercase().as_bytes())
            .map_err(|_| TicketError::Damaged)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if checksum(body) != *sum {
            return Err(TicketError::Damaged);
        }
        let Body { secret, addrs } =
            postcard::from_bytes(body).map_err(|_| TicketError::Damaged)?;
        let addrs = addrs.into_iter().take(ADDRESSES).map(Multiaddr::try_from);
        let addrs = addrs
            .collect::<Result<_, _>>()
            .map_err(|_| TicketError::Damaged)?;
        Ok(Self {
            secret: MeshSecret(secret),
            addrs,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_ticket_survives_its_text_and_nothing_less() {
        let addrs = vec!["/ip4/10.0.0.5/tcp/4747".parse().unwrap()];
        let ticket = Ticket {
            secret: MeshSecret([7; 32]),
            addrs,
        };
        let text = ticket.to_string();
        assert_eq!(text.parse::<Ticket>().unwrap(), ticket);
        for len in 0..text.len() {
            assert!(text[..len].parse::<Ticket>().is_err(), "{len}");
        }
        for at in 5..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            assert!(
                String::from_utf8(other).unwrap().parse::<Ticket>().is_err(),
                "{at}"
            );
        }
        assert_eq!("hello".parse::<Ticket>(), Err(TicketError::Foreign));
        assert_eq!("aque2abc".parse::<Ticket>(), Err(TicketError::Version));
    }
}
