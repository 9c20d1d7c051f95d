//! What can go wrong, in words for people.

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The key or address file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The key file holds no key.
    #[error("{0} holds no key; restore it, or remove the data directory to become a new node")]
    Key(String),
    /// No address could be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        why: String,
    },
    /// The transport could not be set up.
    #[error("the transport cannot be set up: {0}")]
    Transport(String),
}

/// Why a text is no listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is IP:PORT, [IP]:PORT or a multiaddr such as /ip4/10.0.0.5/tcp/4747")]
pub struct ListenError;

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer is not connected.
    #[error("peer is not connected")]
    Away,
    /// Too much waits for it already.
    #[error("too much waits for this peer")]
    Full,
    /// The frame is too long.
    #[error("frame is too long")]
    Oversized,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer is not connected.
    #[error("the host is not connected")]
    Away,
    /// It did not answer in time.
    #[error("the host did not answer in time")]
    Late,
    /// It does not speak the protocol, or the connection broke.
    #[error("{0}")]
    Failed(String),
}

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin as a ticket does.
    #[error("this is no ticket: one begins with aque1 and is printed by 'aque invite'")]
    Foreign,
    /// It is of another version.
    #[error("this ticket is of another version of aque")]
    Version,
    /// It was cut short or changed.
    #[error("this ticket is damaged or cut short: copy the whole line that 'aque invite' printed")]
    Damaged,
}
