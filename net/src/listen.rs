//! Listen addresses as people type them.

use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::error::ListenError;

/// Returns the addresses that a text stands for: `IP:PORT` and `[IP]:PORT` mean TCP and QUIC on
/// that port, in this order; a multiaddr means itself.
///
/// # Errors
/// It is neither.
pub fn parse_listen(text: &str) -> Result<Vec<Multiaddr>, ListenError> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(vec![tcp(socket), quic(socket)]);
    }
    match text.parse::<Multiaddr>() {
        Ok(address) if port_of(&address).is_some() => Ok(vec![address]),
        Ok(_) | Err(_) => Err(ListenError),
    }
}

fn host(ip: IpAddr) -> Multiaddr {
    Multiaddr::empty().with(Protocol::from(ip))
}

fn tcp(socket: SocketAddr) -> Multiaddr {
    host(socket.ip()).with(Protocol::Tcp(socket.port()))
}

fn quic(socket: SocketAddr) -> Multiaddr {
    host(socket.ip())
        .with(Protocol::Udp(socket.port()))
        .with(Protocol::QuicV1)
}

/// Returns the port of an address.
pub(crate) fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

/// Returns the socket address of a TCP address that names its port.
pub(crate) fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port > 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Puts another port into an address.
pub(crate) fn with_port(address: &Multiaddr, port: u16) -> Multiaddr {
    let put = |part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(port),
        Protocol::Udp(_) => Protocol::Udp(port),
        other => other,
    };
    address.iter().map(put).collect()
}

/// Returns the port on which an address that names none was listened at before, by the addresses of then.
pub(crate) fn port_before(address: &Multiaddr, before: &[Multiaddr]) -> Option<u16> {
    if port_of(address) != Some(0) {
        return None;
    }
    let fits = |there: &&Multiaddr| {
        let (mut wanted, mut there) = (address.iter(), there.iter());
        let of_address = match (wanted.next(), there.next()) {
            (Some(Protocol::Ip4(wanted)), Some(Protocol::Ip4(own))) => {
                wanted.is_unspecified() || wanted == own
            }
            (Some(Protocol::Ip6(wanted)), Some(Protocol::Ip6(own))) => {
                wanted.is_unspecified() || wanted == own
            }
            _ => false,
        };
        of_address && is_tcp(address) == there.any(|part| matches!(part, Protocol::Tcp(_)))
    };
    before.iter().find(fits).and_then(port_of)
}

/// Says whether an address is on TCP.
pub(crate) fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

/// Says whether an address reaches only this very machine, or none at all.
pub(crate) fn is_local(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback() || ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_loopback() || ip.is_unspecified(),
        _ => false,
    })
}

/// Says whether an address means every one of this machine's of the newer kind.
pub(crate) fn is_any_ip6(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Ip6(ip) if ip.is_unspecified()))
}

/// Says whether an address means nothing without the name of an interface.
pub(crate) fn is_link_local(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Ip6(ip) if ip.is_unicast_link_local()))
}

/// Returns an address without the peer id at its end.
pub(crate) fn bare(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .filter(|part| !matches!(part, Protocol::P2p(_)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn listen_table() {
        let shown = |text: &str| {
            parse_listen(text)
                .map(|list| {
                    list.iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            shown("127.0.0.1:0").unwrap(),
            "/ip4/127.0.0.1/tcp/0 /ip4/127.0.0.1/udp/0/quic-v1"
        );
        assert_eq!(
            shown("[::]:4747").unwrap(),
            "/ip6/::/tcp/4747 /ip6/::/udp/4747/quic-v1"
        );
        assert_eq!(shown("/ip4/10.0.0.5/tcp/1").unwrap(), "/ip4/10.0.0.5/tcp/1");
        for nonsense in [
            "",
            "here",
            "4747",
            "10.0.0.5",
            "10.0.0.5:99999",
            "/ip4/10.0.0.5",
        ] {
            assert!(shown(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn any_port_is_the_one_of_before() {
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        let before = [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/10.0.0.5/tcp/4002",
            "/ip4/10.0.0.5/udp/4003/quic-v1",
        ]
        .map(address);
        for (wanted, port) in [
            ("/ip4/10.0.0.5/tcp/0", Some(4_002)),
            ("/ip4/0.0.0.0/tcp/0", Some(4_001)),
            ("/ip4/10.0.0.5/udp/0/quic-v1", Some(4_003)),
            ("/ip4/10.0.0.6/tcp/0", None),
            ("/ip6/::/tcp/0", None),
            ("/ip4/10.0.0.5/tcp/7", None),
        ] {
            assert_eq!(port_before(&address(wanted), &before), port, "{wanted}");
        }
    }
}
