//! Who may ask for what. Every request that can be made says here what it takes, so none can be added without an answer; the
//! event loop looks at it before anything else.
//!
//! Who asks is the kernel's word, never a client's: nothing that a client sends names who it is. Of a client of another host it is
//! that host's word, and counts for that user's own tasks alone (`passage`). A person may look at everything
//! but what other people's tasks write and read, and may do something to their own tasks alone. Root, and the user as whom the node
//! runs, may do everything on that node's socket.

use std::collections::BTreeSet;
use std::io;

use crdt::fit::RunsAs;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;

use super::wire::{Call, Failure, FailureKind, RunAs, Submission};
use crate::users::{self, User};

/// Who asks, by the kernel's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// User name, or the id where it has none.
    pub user: String,
    /// The group as which they came.
    gid: u32,
    /// Its name, if it is not the one that is theirs and tasks can be run so here.
    changed_group: Option<String>,
    /// The host that says who they are, if that is not this one's kernel: then they are nobody here but in the name of their tasks.
    from: Option<String>,
}

/// Who is at the other end of a socket, before anybody has looked up the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    uid: u32,
    gid: u32,
}

impl Credentials {
    /// Reads from the kernel who is at the other end.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let about = stream.peer_cred()?;
        Ok(Self {
            uid: about.uid(),
            gid: about.gid(),
        })
    }

    /// Says whether it is root, or the user as whom this process runs.
    pub(super) fn rules(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// Looks up the names.
    pub(super) async fn named(self) -> Caller {
        let Self { uid, gid } = self;
        let names = move || {
            let user = users::name_of(uid);
            let changed_group = changed_group(&user, gid);
            (user, changed_group)
        };
        let names = spawn_blocking(names).await;
        let (user, changed_group) = names.unwrap_or_else(|_| (uid.to_string(), None));
        Caller {
            uid,
            user,
            gid,
            changed_group,
            from: None,
        }
    }
}

/// The group to which a user changed before they came, where this process can run their tasks so.
fn changed_group(user: &str, gid: u32) -> Option<String> {
    if users::runs_as() != RunsAs::Anyone {
        return None;
    }
    let user = User::named(user).ok().flatten()?;
    // One that cannot be looked up is not stated; the user's own is as good as without `newgrp`.
    user.changed_group(gid).ok().flatten()
}

impl Caller {
    /// Returns a client of another host, which says who that is.
    #[must_use]
    pub fn from_afar(user: &str, host: &str) -> Self {
        Self {
            // No user of this host has these numbers.
            uid: u32::MAX,
            gid: u32::MAX,
            changed_group: None,
            user: user.to_owned(),
            from: Some(host.to_owned()),
        }
    }

    /// Says whether it is a client of another host.
    #[must_use]
    pub fn is_from_afar(&self) -> bool {
        self.from.is_some()
    }

    /// Says whether they may do everything: root, and the user as whom this process runs.
    #[must_use]
    pub fn rules(&self) -> bool {
        let Self { uid, gid, .. } = *self;
        self.from.is_none() && Credentials { uid, gid }.rules()
    }

    /// Says whether a task of `user` is theirs to do something with.
    #[must_use]
    pub fn may_touch(&self, user: &str) -> bool {
        self.rules() || !user.is_empty() && self.user == user
    }
}

/// What a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes<'a> {
    /// That one can connect.
    Nothing,
    /// That these tasks are one's own, each as it was typed.
    OwnTasks(Vec<&'a str>),
    /// That the tasks chosen are one's own: looked at when they are chosen, since what is chosen by age is another's a moment later.
    OwnChosen,
    /// That one may do everything; what it is, for people.
    Rule(&'static str),
}

impl Call {
    /// Returns what it takes.
    #[must_use]
    pub fn takes(&self) -> Takes<'_> {
        match self {
            Self::Status(_)
            | Self::Page(_)
            | Self::Show { .. }
            | Self::Wait { .. }
            | Self::Events(_)
            | Self::Explain { .. }
            // Each line that is passed on is looked at where it comes to.
            | Self::Pass { .. }
            | Self::Nodes {}
            | Self::Settings {}
            | Self::Queues {}
            | Self::Stats {}
            | Self::Doctor {} => Takes::Nothing,
            Self::Submit(submission) => Takes::OwnTasks(touched(submission)),
            Self::Output(query) => Takes::OwnTasks(vec![&query.task]),
            Self::Close { group, .. } => Takes::OwnTasks(vec![group]),
            Self::Kill { .. }
            | Self::Retry { .. }
            | Self::Hold { .. }
            | Self::Release { .. }
            | Self::Edit { .. }
            | Self::Remove { .. } => Takes::OwnChosen,
            Self::Assign { .. } => Takes::Rule("drain, undrain or forget hosts"),
            Self::Set { .. } => Takes::Rule("change settings of the mesh"),
            Self::Invite {} => Takes::Rule("invite hosts"),
        }
    }
}

/// The groups that a submission would join, and the tasks whose output it would read.
fn touched(submission: &Submission) -> Vec<&str> {
    let tasks = submission.tasks.iter();
    let groups = tasks.clone().flat_map(|task| &task.member);
    let groups = groups.flat_map(|member| member.group.as_deref());
    let read = tasks.flat_map(|task| task.life.pipe_from.as_deref());
    let touched: BTreeSet<&str> = groups.chain(read).collect();
    touched.into_iter().collect()
}

/// Refuses a submission whose tasks are to run as somebody as whom its submitter may not run them, or who is not there. Looks at the
/// machine's databases alone, and only where somebody is named.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) async fn check_run_as(caller: &Caller, call: &Call) -> Result<(), Failure> {
    let Call::Submit(submission) = call else {
        return Ok(());
    };
    let named = submission.tasks.iter().map(|task| &task.run_as);
    let named: BTreeSet<RunAs> = named
        .filter(|as_whom| as_whom.is_stated())
        .cloned()
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    let caller = caller.clone();
    let checked = spawn_blocking(move || {
        let mut named = named.iter();
        named.try_for_each(|as_whom| check_one(&caller, as_whom))
    });
    match checked.await {
        Ok(checked) => checked,
        Err(error) => Err(request(format!("users cannot be looked up: {error}"))),
    }
}

fn check_one(caller: &Caller, RunAs { user, group }: &RunAs) -> Result<(), Failure> {
    for name in user.iter().chain(group) {
        let sound = users::check_name(name);
        sound.map_err(|why| request(format!("nobody can be called {name:?}: {why}")))?;
    }
    let is_root = caller.uid == 0;
    let user = user.as_ref().unwrap_or(&caller.user);
    if *user != caller.user && !is_root {
        let hint = match caller.is_from_afar() {
            true => "from another host nobody may name another user; leave --node out",
            false => "only root may name another user",
        };
        return Err(Failure {
            kind: FailureKind::Forbidden,
            message: format!("{} may not run tasks as {user}", caller.user),
            hint: Some(hint.to_owned()),
        });
    }
    let known = User::named(user).map_err(unknown)?;
    let known = known.ok_or_else(|| request(format!("there is no user {user} on this host")));
    let Some(group) = group else {
        return known.map(drop);
    };
    let gid = users::group_named(group).map_err(unknown)?;
    let gid = gid.ok_or_else(|| request(format!("there is no group {group} on this host")))?;
    let known = known?;
    let came_so = caller.gid == gid && *user == caller.user;
    if is_root || came_so || known.groups().map_err(unknown)?.contains(&gid) {
        return Ok(());
    }
    Err(Failure {
        kind: FailureKind::Forbidden,
        message: format!("{user} is not in group {group}"),
        hint: Some("'id' tells the groups that one is in; root may name any".to_owned()),
    })
}

/// Has the tasks of a submission that name no group run as the one to which its submitter changed, as whatever else they start does.
pub(super) fn keep_group(caller: &Caller, call: &mut Call) {
    let (Call::Submit(submission), Some(group)) = (call, &caller.changed_group) else {
        return;
    };
    for RunAs { user, group: named } in submission.tasks.iter_mut().map(|task| &mut task.run_as) {
        let is_own = user.as_ref().is_none_or(|user| *user == caller.user);
        if is_own && named.is_none() {
            *named = Some(group.clone());
        }
    }
}

fn request(message: String) -> Failure {
    Failure {
        kind: FailureKind::Request,
        message,
        hint: None,
    }
}

fn unknown(error: io::Error) -> Failure {
    request(format!("users cannot be looked up on this host: {error}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::api::wire::{Life, MemberRequest, TaskRequest};

    fn caller(uid: u32, user: &str) -> Caller {
        let gid = User::named(user).unwrap().map_or(uid, |user| user.gid);
        Caller {
            uid,
            user: user.to_owned(),
            gid,
            changed_group: None,
            from: None,
        }
    }

    fn nobody() -> Caller {
        let nobody = User::named("nobody").unwrap().unwrap();
        caller(nobody.uid, "nobody")
    }

    #[test]
    fn who_rules_table() {
        let own = rustix::process::geteuid().as_raw();
        assert!(caller(0, "root").rules() && caller(own, "me").rules());
        let nobody = nobody();
        if own != nobody.uid {
            assert!(!nobody.rules());
            assert!(nobody.may_touch("nobody") && !nobody.may_touch("ann"));
            assert!(!nobody.may_touch("root") && !nobody.may_touch(""));
        }
    }

    #[test]
    fn from_afar_one_is_nobody_but_the_owner_of_ones_tasks() {
        for user in ["root", "ann"] {
            let caller = Caller::from_afar(user, "n1");
            assert!(!caller.rules() && caller.may_touch(user));
            assert!(!caller.may_touch("bob") && !caller.may_touch(""));
        }
        // The node itself.
        assert!(!Caller::from_afar("", "n1").may_touch(""));
    }

    #[test]
    fn what_others_write_is_read_and_groups_are_joined_by_their_owners_alone() {
        let member = |group: Option<&str>| TaskRequest {
            member: Some(MemberRequest {
                group: group.map(str::to_owned),
                group_place: None,
                index: 0,
                window: 0,
            }),
            ..TaskRequest::default()
        };
        let submission = Submission {
            tasks: vec![
                TaskRequest::default(),
                member(Some("a-1")),
                member(None),
                member(Some("a-1")),
                TaskRequest {
                    life: Life {
                        pipe_from: Some("b-2".to_owned()),
                        ..Life::default()
                    },
                    ..TaskRequest::default()
                },
            ],
            ..Submission::default()
        };
        let call = Call::Submit(submission);
        assert_eq!(call.takes(), Takes::OwnTasks(vec!["a-1", "b-2"]));
    }

    #[tokio::test]
    async fn nobody_else_may_be_named_by_whatever_is_sent() {
        let check = async |caller: &Caller, user: Option<&str>, group: Option<&str>| {
            let task = TaskRequest {
                run_as: RunAs {
                    user: user.map(str::to_owned),
                    group: group.map(str::to_owned),
                },
                ..TaskRequest::default()
            };
            // What is wrong with one is wrong with all.
            let submission = Submission {
                tasks: vec![TaskRequest::default(), task],
                ..Submission::default()
            };
            let checked = check_run_as(caller, &Call::Submit(submission)).await;
            checked.map_err(|failure| failure.kind)
        };
        let (root, nobody) = (caller(0, "root"), nobody());
        let (request, forbidden) = (Err(FailureKind::Request), Err(FailureKind::Forbidden));
        assert_eq!(check(&nobody, None, None).await, Ok(()));
        assert_eq!(check(&nobody, Some("nobody"), None).await, Ok(()));
        assert_eq!(check(&nobody, Some("root"), None).await, forbidden);
        assert_eq!(check(&nobody, Some("no-such-user"), None).await, forbidden);
        assert_eq!(check(&nobody, None, Some("root")).await, forbidden);
        assert_eq!(check(&nobody, None, Some("no-such-group")).await, request);
        for bad in ["", "0", "1000", "a:b", "a\0b", "a\nb"] {
            assert_eq!(check(&root, Some(bad), None).await, request, "{bad:?}");
            assert_eq!(check(&root, None, Some(bad)).await, request, "{bad:?}");
        }
        assert_eq!(check(&root, Some("nobody"), Some("root")).await, Ok(()));
        assert_eq!(check(&root, Some("no-such-user"), None).await, request);
    }

    #[test]
    fn a_changed_group_is_that_of_ones_own_tasks_that_name_none() {
        let named = |name: &str| Some(name.to_owned());
        let caller = Caller {
            changed_group: named("video"),
            ..caller(1, "ann")
        };
        let rows = [
            (None, None, named("video")),
            (named("ann"), None, named("video")),
            (None, named("ann"), named("ann")),
            (named("bob"), None, None),
        ];
        for (user, group, expected) in rows {
            let run_as = RunAs { user, group };
            let task = TaskRequest {
                run_as,
                ..TaskRequest::default()
            };
            let mut call = Call::Submit(Submission {
                tasks: vec![TaskRequest::default(), task],
                ..Submission::default()
            });
            keep_group(&caller, &mut call);
            let Call::Submit(submission) = call else {
                panic!("it is another call");
            };
            assert_eq!(submission.tasks[0].run_as.group, named("video"));
            assert_eq!(submission.tasks[1].run_as.group, expected);
        }
    }
}
