//! The tree of tasks: below a group its members, below a task what it submitted, and behind a task what depends on it.
//!
//! What belongs to a task is one level deeper and counted with it, by state, all the way up. What depends on another stands
//! behind that on the same level, if both belong to the same; else it stands where it belongs.

use std::collections::{BTreeMap, HashMap};

use crdt::task::TaskState;

use crate::api::wire::TaskLine;

/// Counts by state name.
pub(crate) type Counts = BTreeMap<String, u32>;

/// Tasks as a tree. Places are those of the list that it grew from.
#[derive(Debug)]
pub(crate) struct Tree {
    lines: Vec<TaskLine>,
    /// What each belongs to.
    owners: Vec<Option<usize>>,
    /// What stands right below or behind each, in the order of the list.
    next: Vec<Vec<usize>>,
    roots: Vec<usize>,
    counts: Vec<Option<Counts>>,
}

/// Which tasks are counted below a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// All that there are, as the node counted them.
    All,
    /// Those in the list.
    Listed,
}

/// How a task stands in a tree.
#[derive(Debug)]
pub(crate) struct Branch<'a> {
    /// The task itself.
    pub(crate) line: &'a TaskLine,
    /// Of a group, and of what submitted others: the tasks below it at any depth, by state.
    pub(crate) counts: Option<&'a Counts>,
    /// How far it is from the margin.
    pub(crate) indent: usize,
    /// It stands behind what it depends on.
    pub(crate) follows: bool,
}

impl<'a> Branch<'a> {
    /// Returns a task that stands for itself.
    pub(crate) fn alone(line: &'a TaskLine) -> Self {
        Self {
            line,
            counts: None,
            indent: 0,
            follows: false,
        }
    }
}

impl Tree {
    /// Grows a tree from a list, whose order is kept. What belongs to nothing in the list is a root.
    pub(crate) fn grow(lines: Vec<TaskLine>, count: Count) -> Self {
        let places: HashMap<&str, usize> = lines
            .iter()
            .enumerate()
            .map(|(place, line)| (line.id.as_str(), place))
            .collect();
        let find = |id: &String| places.get(id.as_str()).copied();
        let owner = |line: &TaskLine| {
            let group = line.group.as_ref().and_then(find);
            group.or_else(|| line.parent.as_ref().and_then(find))
        };
        let owners = without_circles(lines.iter().map(owner).collect());
        let stands = |(place, line): (usize, &TaskLine)| {
            let alike = |other: &usize| owners[*other] == owners[place] && *other != place;
            let before = line.after.iter().filter_map(find).filter(alike).max();
            before.or(owners[place])
        };
        let stands = without_circles(lines.iter().enumerate().map(stands).collect());
        let mut next = vec![Vec::new(); lines.len()];
        let mut roots = Vec::new();
        for (place, stands) in stands.iter().enumerate() {
            match stands {
                Some(other) => next[*other].push(place),
                None => roots.push(place),
            }
        }
        for (place, next) in next.iter_mut().enumerate() {
            // What belongs to it comes first.
            next.sort_by_key(|other| owners[*other] != Some(place));
        }
        let counts = counts(&lines, &owners, count);
        Self {
            lines,
            owners,
            next,
            roots,
            counts,
        }
    }

    /// Returns the tree from above, down to `depth` levels; 0 = all. What follows another is on its level.
    pub(crate) fn branches(&self, depth: usize) -> Vec<Branch<'_>> {
        let mut branches = Vec::with_capacity(self.lines.len());
        let root = |place: &usize| Place {
            place: *place,
            level: 1,
            indent: 0,
            follows: false,
        };
        // Without recursion: a tree may be as deep as a list is long.
        let mut open: Vec<Place> = self.roots.iter().rev().map(root).collect();
        while let Some(at) = open.pop() {
            branches.push(Branch {
                line: &self.lines[at.place],
                counts: self.counts[at.place].as_ref(),
                indent: at.indent,
                follows: at.follows,
            });
            let next = self.next[at.place].iter().rev().map(|next| {
                let follows = self.owners[*next] != Some(at.place);
                Place {
                    place: *next,
                    level: at.level + usize::from(!follows),
                    indent: at.indent + 1,
                    follows,
                }
            });
            open.extend(next.filter(|next| depth == 0 || next.level <= depth));
        }
        branches
    }
}

/// Where a walk is.
struct Place {
    place: usize,
    level: usize,
    indent: usize,
    follows: bool,
}

/// Cuts circles, which no honest node sends: each once.
fn without_circles(mut up: Vec<Option<usize>>) -> Vec<Option<usize>> {
    // The walk that came by each first.
    let mut seen = vec![None; up.len()];
    for start in 0..up.len() {
        let mut at = start;
        while seen[at].is_none() {
            seen[at] = Some(start);
            match up[at] {
                Some(next) if seen[next] == Some(start) => up[at] = None,
                Some(next) => at = next,
                None => {}
            }
        }
    }
    up
}

/// How many of each state, in the order of [`TaskState::ALL`].
type Sums = [u32; TaskState::ALL.len()];

/// The tasks below each that has some, by state.
fn counts(lines: &[TaskLine], owners: &[Option<usize>], count: Count) -> Vec<Option<Counts>> {
    let mut sums: Vec<Sums> = lines.iter().map(|line| told(line, count)).collect();
    let mut below = vec![0_usize; lines.len()];
    for owner in owners.iter().flatten() {
        below[*owner] += 1;
    }
    let has_some = |place: usize| lines[place].members.is_some() || below[place] > 0;
    let counted: Vec<bool> = (0..lines.len()).map(has_some).collect();
    // From below: a task is added to what it belongs to once all below it is.
    let mut ready: Vec<usize> = (0..lines.len())
        .filter(|place| below[*place] == 0)
        .collect();
    while let Some(place) = ready.pop() {
        let Some(owner) = owners[place] else { continue };
        let mut sum = sums[place];
        let line = &lines[place];
        let in_group = line.group.as_ref() == Some(&lines[owner].id);
        // A group is no task of its own, and what the node counted is not counted again.
        if line.members.is_none() && !(in_group && count == Count::All) {
            sum[line.state as usize] += 1;
        }
        for (total, more) in sums[owner].iter_mut().zip(sum) {
            *total += more;
        }
        below[owner] -= 1;
        if below[owner] == 0 {
            ready.push(owner);
        }
    }
    let named = |(sum, counted): (Sums, bool)| {
        let states = TaskState::ALL.iter().zip(sum).filter(|(_, n)| *n > 0);
        counted.then(|| {
            states
                .map(|(state, n)| (state.name().to_owned(), n))
                .collect()
        })
    };
    sums.into_iter().zip(counted).map(named).collect()
}

/// What the node counted below a task.
fn told(line: &TaskLine, count: Count) -> Sums {
    let mut sums = Sums::default();
    if count == Count::Listed {
        return sums;
    }
    for (name, n) in line.members.iter().chain(&line.below).flatten() {
        let state = TaskState::ALL.iter().position(|state| state.name() == name);
        if let Some(place) = state {
            sums[place] += n;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::line;
    use super::*;

    fn member(id: &str, group: &str, state: TaskState) -> TaskLine {
        TaskLine {
            group: Some(group.into()),
            ..line(id, state)
        }
    }

    fn child(id: &str, parent: &str, state: TaskState) -> TaskLine {
        TaskLine {
            parent: Some(parent.into()),
            ..line(id, state)
        }
    }

    fn group(id: &str, members: &[(&str, u32)]) -> TaskLine {
        let members = members.iter().map(|(name, n)| ((*name).to_owned(), *n));
        TaskLine {
            members: Some(members.collect()),
            ..line(id, TaskState::Running)
        }
    }

    fn after(line: TaskLine, ids: &[&str]) -> TaskLine {
        TaskLine {
            after: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..line
        }
    }

    /// A line for each branch: its indentation, `>` if it follows, its id, and what is below it.
    fn shape(tree: &Tree, depth: usize) -> String {
        let one = |branch: Branch<'_>| {
            let sign = if branch.follows { ">" } else { "" };
            let counts = branch.counts.map(crate::render::text::states);
            let counts = counts.map_or_else(String::new, |counts| format!(" ({counts})"));
            format!(
                "{}{sign}{}{counts}\n",
                ".".repeat(branch.indent),
                branch.line.id
            )
        };
        tree.branches(depth).into_iter().map(one).collect()
    }

    #[test]
    fn what_belongs_to_a_task_stands_below_it() {
        let lines = vec![
            line("a", TaskState::Success),
            group("g", &[("success", 1), ("running", 2)]),
            member("g1", "g", TaskState::Success),
            child("c", "g1", TaskState::Error),
            line("b", TaskState::Running),
            child("b1", "b", TaskState::Success),
            child("h", "b", TaskState::Running),
            member("x1", "elsewhere", TaskState::Success),
        ];
        let tree = Tree::grow(lines.clone(), Count::All);
        assert_eq!(
            shape(&tree, 0),
            "a\n\
             g (2 running, 1 success, 1 error)\n.g1 (1 error)\n..c\n\
             b (1 running, 1 success)\n.b1\n.h\n\
             x1\n"
        );
        assert_eq!(shape(&tree, 2).lines().count(), 7);
        assert_eq!(shape(&tree, 1).lines().count(), 4);
        let tree = Tree::grow(lines, Count::Listed);
        assert!(shape(&tree, 1).contains("g (1 success, 1 error)"));
    }

    #[test]
    fn what_depends_on_a_task_follows_it_on_its_level() {
        let lines = vec![
            line("a", TaskState::Success),
            line("b", TaskState::Success),
            after(line("c", TaskState::Running), &["a", "b"]),
            after(line("d", TaskState::Blocked), &["c"]),
            line("p", TaskState::Running),
            child("p1", "p", TaskState::Running),
            after(child("p2", "p", TaskState::Blocked), &["p1", "a"]),
            after(child("p3", "p", TaskState::Blocked), &["a"]),
        ];
        let tree = Tree::grow(lines, Count::All);
        assert_eq!(
            shape(&tree, 1),
            "a\nb\n.>c\n..>d\np (2 blocked, 1 running)\n"
        );
        assert_eq!(
            shape(&tree, 2),
            "a\nb\n.>c\n..>d\np (2 blocked, 1 running)\n.p1\n..>p2\n.p3\n"
        );
    }

    #[test]
    fn what_is_not_listed_is_counted_by_the_node() {
        let mut closed = group("g", &[("running", 2)]);
        closed.below = Some([("error".to_owned(), 3)].into());
        closed.parent = Some("p".into());
        let tree = Tree::grow(vec![line("p", TaskState::Success), closed], Count::All);
        assert_eq!(
            shape(&tree, 0),
            "p (2 running, 3 error)\n.g (2 running, 3 error)\n"
        );
    }

    #[test]
    fn circles_are_cut_and_depth_has_no_bound() {
        let lines = vec![
            member("a", "b", TaskState::Pending),
            member("b", "a", TaskState::Pending),
            member("c", "c", TaskState::Pending),
            after(line("d", TaskState::Pending), &["d", "e"]),
            after(line("e", TaskState::Pending), &["d"]),
        ];
        let tree = Tree::grow(lines, Count::Listed);
        assert_eq!(tree.branches(0).len(), 5);
        let deep = (0..50_000).map(|n| {
            let task = child(&n.to_string(), &(n - 1).to_string(), TaskState::Success);
            after(task, &[&(n - 1).to_string()])
        });
        let tree = Tree::grow(deep.collect(), Count::All);
        assert_eq!(tree.branches(0).len(), 50_000);
        assert_eq!(tree.branches(7).len(), 7);
    }
}
