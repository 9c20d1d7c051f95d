//! Bytes that people type and programs read: arguments and environments.

use std::borrow::Cow;
use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::Digest;

/// An operating-system string: bytes, mostly UTF-8. JSON shows it as text, or as `{"base64": "…"}` when it is not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Arg(pub Vec<u8>);

impl Arg {
    /// Returns the text, with replacement characters where it is not UTF-8.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ArgForm<'a> {
    Text(Cow<'a, str>),
    Bytes { base64: String },
}

impl Serialize for Arg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => ArgForm::Text(text.into()),
            Err(_) => ArgForm::Bytes {
                base64: BASE64.encode(&self.0),
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::<u8>::deserialize(deserializer).map(Self);
        }
        match ArgForm::deserialize(deserializer)? {
            ArgForm::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            ArgForm::Bytes { base64 } => BASE64
                .decode(base64.as_bytes())
                .map(Self)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Environment variables, sorted by name.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Environment(pub Vec<(Arg, Arg)>);

impl Environment {
    /// Returns the content address under which a segment stores it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("aque 2026 environment");
        for (key, value) in &self.0 {
            for part in [key, value] {
                hasher.update(&(part.0.len() as u64).to_le_bytes());
                hasher.update(&part.0);
            }
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn arguments_survive_json_and_the_wire() {
        for bytes in [b"plain".to_vec(), b"\xff\xfe\x00x".to_vec(), Vec::new()] {
            let arg = Arg(bytes);
            let json = serde_json::to_string(&arg).unwrap();
            assert_eq!(serde_json::from_str::<Arg>(&json).unwrap(), arg);
            let wire = postcard::to_stdvec(&arg).unwrap();
            assert_eq!(postcard::from_bytes::<Arg>(&wire).unwrap(), arg);
        }
    }
}
