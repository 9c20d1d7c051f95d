//! The tree of groups and their members, with counts by state merged upwards.

use std::collections::{BTreeMap, HashMap};

use crate::api::wire::TaskLine;

/// Counts by state name.
pub(crate) type Counts = BTreeMap<String, u32>;

/// A task, or a group with its members.
#[derive(Debug)]
pub(crate) struct Branch {
    /// The task itself.
    pub(crate) line: TaskLine,
    /// For a group: the members that are known here.
    pub(crate) members: Vec<Branch>,
    /// For a group: the tasks in it at any depth, by state.
    pub(crate) counts: Option<Counts>,
}

/// Puts each task below its group; what belongs to nothing in the list is a root. The order of the list is kept.
pub(crate) fn grow(lines: Vec<TaskLine>) -> Vec<Branch> {
    let places: HashMap<String, usize> = lines
        .iter()
        .enumerate()
        .map(|(place, line)| (line.id.clone(), place))
        .collect();
    // A group stands before its members; whatever else a node may send must not make a circle.
    let parent = |place: usize, line: &TaskLine| {
        let group = line
            .group
            .as_ref()
            .and_then(|group| places.get(group).copied());
        group.filter(|group| *group < place)
    };
    let parents: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(place, line)| parent(place, line))
        .collect();
    let mut below: Vec<Vec<Branch>> = lines.iter().map(|_| Vec::new()).collect();
    let mut roots = Vec::new();
    for (line, parent) in lines.into_iter().zip(parents).rev() {
        let mut members = below.pop().unwrap_or_default();
        members.reverse();
        let branch = Branch {
            counts: counts(&line, &members),
            line,
            members,
        };
        match parent {
            Some(group) => below[group].push(branch),
            None => roots.push(branch),
        }
    }
    roots.reverse();
    roots
}

/// Merges the members' states: those of the members that are listed, else what the node counted.
fn counts(line: &TaskLine, members: &[Branch]) -> Option<Counts> {
    if members.is_empty() {
        return line.members.clone();
    }
    let mut merged = Counts::new();
    for member in members {
        match &member.counts {
            Some(counts) => {
                for (state, count) in counts {
                    *merged.entry(state.clone()).or_default() += count;
                }
            }
            None => {
                *merged
                    .entry(member.line.state.name().to_owned())
                    .or_default() += 1
            }
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use crdt::task::TaskState;

    use super::super::task::tests::line;
    use super::*;

    fn member(id: &str, group: &str, state: TaskState) -> TaskLine {
        TaskLine {
            group: Some(group.into()),
            ..line(id, state)
        }
    }

    fn shape(branches: &[Branch]) -> String {
        let one = |branch: &Branch| match branch.members.is_empty() {
            true => branch.line.id.clone(),
            false => format!("{}({})", branch.line.id, shape(&branch.members)),
        };
        branches.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn members_stand_below_their_group() {
        let lines = vec![
            line("a", TaskState::Success),
            line("g", TaskState::Running),
            member("g1", "g", TaskState::Success),
            member("h", "g", TaskState::Running),
            line("b", TaskState::Pending),
            member("h1", "h", TaskState::Error),
            member("h2", "h", TaskState::Success),
            member("x1", "elsewhere", TaskState::Success),
        ];
        let roots = grow(lines);
        assert_eq!(shape(&roots), "a g(g1 h(h1 h2)) b x1");
        let counts = roots[1].counts.as_ref().unwrap();
        assert_eq!(crate::render::text::states(counts), "2 success, 1 error");
    }

    #[test]
    fn a_circle_is_cut() {
        let lines = vec![
            member("a", "b", TaskState::Pending),
            member("b", "a", TaskState::Pending),
            member("c", "c", TaskState::Pending),
        ];
        assert_eq!(shape(&grow(lines)), "a(b) c");
    }
}
