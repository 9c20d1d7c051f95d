//! Values by number: written sparsely, and open-ended.
//!
//! Encoded as a list of numbers, each with its value's bytes, in ascending order; what is left at its default is not there. A number is
//! given once and never again; a number that is not known here, or whose value is not understood, is kept as it is and changes
//! nothing. So every version accepts the same records, and encodes each as its author did.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Values that are not understood here, by number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extra(pub(super) Vec<(u16, Vec<u8>)>);

impl Extra {
    /// Returns these values with what an earlier record states besides.
    pub(super) fn over(self, earlier: Self) -> Self {
        let mut values = earlier.0;
        values.retain(|(number, _)| self.0.iter().all(|(other, _)| other != number));
        values.extend(self.0);
        values.sort_unstable_by_key(|(number, _)| *number);
        Self(values)
    }
}

/// Defines a struct whose fields have numbers, each with a default.
macro_rules! numbered {
    ($(#[doc = $about:literal])* $structure:ident: $($(#[doc = $doc:literal])* $number:literal $name:ident: $type:ty),* $(,)?) => {
        $(#[doc = $about])*
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct $structure {
            $($(#[doc = $doc])* pub $name: $type,)*
            /// What is not understood here.
            pub extra: $crate::task::Extra,
        }

        impl $structure {
            /// Every value that is stated, by number.
            fn stated(&self) -> Vec<(u16, Vec<u8>)> {
                let mut stated = self.extra.0.clone();
                $(stated.extend($crate::task::numbered::encoded(&self.$name).map(|value| ($number, value)));)*
                stated.sort_unstable_by_key(|(number, _)| *number);
                stated
            }

            fn take(&mut self, number: u16, value: Vec<u8>) {
                match number {
                    $($number => match $crate::task::numbered::decoded(&value) {
                        Some(known) => self.$name = known,
                        None => self.extra.0.push((number, value)),
                    },)*
                    _ => self.extra.0.push((number, value)),
                }
            }
        }

        impl serde::Serialize for $structure {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&self.stated(), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $structure {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let stated = <Vec<(u16, Vec<u8>)> as serde::Deserialize>::deserialize(deserializer)?;
                if !stated.is_sorted_by(|a, b| a.0 < b.0) {
                    return Err(serde::de::Error::custom("numbered values are out of order"));
                }
                let mut known = Self::default();
                for (number, value) in stated {
                    known.take(number, value);
                }
                Ok(known)
            }
        }
    };
}

pub(super) use numbered;

/// The encoding of what is stated; what is left at its default is not.
pub(super) fn encoded<T: Serialize + Default + PartialEq>(value: &T) -> Option<Vec<u8>> {
    (*value != T::default()).then(|| postcard::to_stdvec(value).expect("values encode"))
}

/// The value, if these bytes are what it is encoded as.
pub(super) fn decoded<T: Serialize + DeserializeOwned + Default + PartialEq>(
    bytes: &[u8],
) -> Option<T> {
    let value = postcard::from_bytes(bytes).ok()?;
    (encoded(&value).as_deref() == Some(bytes)).then_some(value)
}
