//! Frames between node and guard: `u32` length (little-endian), then one message in postcard.
//!
//! Many messages are encoded into one buffer and written at once; what arrives is cut again here. A
//! frame is bounded by [`MAX_FRAME`], so that a damaged length cannot make a reader wait for ever.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame in bytes: above what Linux lets a program have as arguments and environment (2 MiB
/// by default, 6 MiB at most).
pub(crate) const MAX_FRAME: usize = 8 << 20;

/// What is wrong with a message or a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A message does not fit in a frame. Nothing was written.
    #[error("a message of {0} bytes is too large for the guard")]
    TooLarge(usize),
    /// The bytes are not a message: the stream cannot be used any more.
    #[error("node and guard do not understand each other: {0}")]
    Garbled(#[from] postcard::Error),
}

/// Appends a message to `out`.
///
/// # Errors
/// [`FrameError::TooLarge`]; `out` is then as it was.
pub(crate) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    if let Err(error) = postcard::to_io(message, &mut *out) {
        out.truncate(start);
        return Err(error.into());
    }
    let bytes = out.len() - start - 4;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MAX_FRAME => {
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(FrameError::TooLarge(bytes))
        }
    }
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole message, if there is one.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be used any more.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            self.release();
            return Ok(None);
        };
        let bytes = u32::from_le_bytes(*head) as usize;
        if bytes > MAX_FRAME {
            return Err(FrameError::TooLarge(bytes));
        }
        let Some(body) = rest.get(..bytes) else {
            return Ok(None);
        };
        let message = postcard::from_bytes(body)?;
        self.taken += 4 + bytes;
        Ok(Some(message))
    }

    /// Gives back the memory of an unusually large message.
    fn release(&mut self) {
        if self.taken == self.buffer.len() && self.buffer.capacity() > 1 << 20 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let messages: Vec<Vec<u8>> = vec![vec![], vec![7; 300], b"abc".to_vec()];
        let mut bytes = Vec::new();
        for message in &messages {
            encode(message, &mut bytes).unwrap();
        }
        for step in 1..bytes.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(message) = decoder.next::<Vec<u8>>().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, messages);
        }
    }

    #[test]
    fn bad_lengths_and_bad_bodies_are_errors() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next::<u8>(), Err(FrameError::TooLarge(_))));
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 0, 0, 0xff, 0xff]);
        assert!(matches!(
            decoder.next::<String>(),
            Err(FrameError::Garbled(_))
        ));
        let mut out = vec![1];
        assert!(encode(&vec![0_u8; MAX_FRAME + 1], &mut out).is_err());
        assert_eq!(out, [1]);
    }
}
