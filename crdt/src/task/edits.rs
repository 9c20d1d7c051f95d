//! What people state of a task otherwise than at its submission, as long as it has not started.

use super::numbered::numbered;
use super::{Extra, TaskSpec};

numbered! {
    /// What is to be otherwise than in a spec: each value that is stated takes the place of the spec's. See [`super::numbered`].
    Edits:
    /// For people; empty: none.
    1 name: Option<String>,
    /// Higher first.
    2 priority: Option<i32>,
    /// Thousandths of a processor; or all of the host's but so many, if that is stated.
    3 cpus: Option<(u32, Option<u32>)>,
    /// Bytes, after none, one, two losses of memory, and so on; empty: unstated.
    4 memory: Option<Vec<u64>>,
    /// Named resources, in thousandths; sorted by name.
    5 resources: Option<Vec<(String, u32)>>,
    /// [`crate::fit::HostPatterns`]; empty: any.
    6 hosts: Option<String>,
    /// System, or system and machine; empty: any.
    7 platform: Option<String>,
    /// The named queue; empty: none.
    8 queue: Option<String>,
}

impl Edits {
    /// The largest encoded size.
    pub const MAX_BYTES: usize = 16 << 10;

    /// Says whether nothing is to be otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Says whether it is no larger than it may be.
    #[must_use]
    pub fn fits(&self) -> bool {
        let size = postcard::experimental::serialized_size(self);
        size.is_ok_and(|size| size <= Self::MAX_BYTES)
    }

    /// Returns these edits with what an earlier one states besides.
    #[must_use]
    pub fn over(self, earlier: &Self) -> Self {
        let earlier = earlier.clone();
        Self {
            name: self.name.or(earlier.name),
            priority: self.priority.or(earlier.priority),
            cpus: self.cpus.or(earlier.cpus),
            memory: self.memory.or(earlier.memory),
            resources: self.resources.or(earlier.resources),
            hosts: self.hosts.or(earlier.hosts),
            platform: self.platform.or(earlier.platform),
            queue: self.queue.or(earlier.queue),
            extra: Extra::over(self.extra, earlier.extra),
        }
    }

    /// Returns the spec that a task has with these edits.
    #[must_use]
    pub fn applied(&self, spec: &TaskSpec) -> TaskSpec {
        let mut spec = spec.clone();
        if let Some(name) = &self.name {
            spec.name = Some(name.clone()).filter(|name| !name.is_empty());
        }
        if let Some((milli, but)) = self.cpus {
            (spec.needs.cpu_milli, spec.options.cpus_but) = (milli, but);
            spec.options.cpu_limit = true;
        }
        if let Some(sizes) = &self.memory {
            spec.needs.memory_bytes = sizes.first().copied().unwrap_or(0);
            spec.options.memory_ladder = sizes.iter().skip(1).copied().collect();
        }
        let put = |from: &Option<String>, to: &mut String| {
            if let Some(text) = from {
                to.clone_from(text);
            }
        };
        put(&self.hosts, &mut spec.options.hosts);
        put(&self.platform, &mut spec.options.platform);
        put(&self.queue, &mut spec.options.queue);
        if let Some(resources) = &self.resources {
            spec.options.resources.clone_from(resources);
        }
        spec.priority = self.priority.unwrap_or(spec.priority);
        spec
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn what_is_stated_takes_the_place_of_the_spec() {
        let mut spec = TaskSpec::command(["true"]);
        spec.name = Some("old".to_owned());
        spec.options.memory_ladder = vec![7];
        spec.options.hosts = "alpha".to_owned();
        let edits = Edits {
            name: Some(String::new()),
            priority: Some(-5),
            cpus: Some((1_000, Some(2_000))),
            memory: Some(vec![1, 2, 3]),
            queue: Some("q".to_owned()),
            ..Edits::default()
        };
        let edited = edits.applied(&spec);
        assert_eq!((edited.name.clone(), edited.priority), (None, -5));
        assert_eq!(edited.options.cpus_but, Some(2_000));
        assert_eq!(
            (edited.needs.memory_bytes, edited.needs.cpu_milli),
            (1, 1_000)
        );
        assert_eq!(edited.options.memory_ladder, [2, 3]);
        assert_eq!(
            (&edited.options.hosts[..], &edited.options.queue[..]),
            ("alpha", "q")
        );
        assert_eq!(edited.work, spec.work);
        assert_eq!(Edits::default().applied(&spec), spec);
    }

    #[test]
    fn a_later_edit_keeps_what_it_does_not_state() {
        let stated = |list: &[(u16, &[u8])]| {
            let list: Vec<(u16, Vec<u8>)> = list.iter().map(|(n, v)| (*n, v.to_vec())).collect();
            let bytes = postcard::to_stdvec(&list).unwrap();
            postcard::from_bytes::<Edits>(&bytes).unwrap()
        };
        let earlier = Edits {
            priority: Some(1),
            name: Some("a".to_owned()),
            ..stated(&[(99, b"x"), (200, b"y")])
        };
        let later = Edits {
            priority: Some(2),
            ..stated(&[(200, b"z")])
        };
        let both = later.over(&earlier);
        let known = Edits {
            priority: Some(2),
            name: Some("a".to_owned()),
            ..stated(&[(99, b"x"), (200, b"z")])
        };
        assert_eq!(both, known);
        assert!(both.fits() && !both.is_empty() && Edits::default().is_empty());
    }
}
