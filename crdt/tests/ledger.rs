//! The ledger from outside: replicas that exchange changes in any order agree, restarts go on where they were, and nothing is
//! shown before it is durable.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use crdt::entry::{Beat, Bid, ClaimMark, Entry, Header, Member, OutcomeAt, SpecChunk, Total, Vote};
use crdt::fit::RunsAs;
use crdt::ids::{DocId, Epoch, Generation, Incarnation, PeerId, SegmentId};
use crdt::keys::Ed25519Keys;
use crdt::ledger::{Accepted, Ledger, Refused};
use crdt::task::{Environment, Outcome, TaskSpec, Verdict};
use crdt::time::Wall;
use proptest::prelude::*;

fn keys(seed: u8) -> Ed25519Keys {
    Ed25519Keys::new(&[seed; 32], &[9; 32])
}

/// One node: its ledger and the log that its disk would hold.
struct Node {
    seed: u8,
    starts: u64,
    ledger: Ledger,
    log: Vec<Arc<[u8]>>,
}

impl Node {
    fn new(seed: u8) -> Self {
        let ledger = Ledger::new(Box::new(keys(seed)), Incarnation(1));
        let mut node = Self {
            seed,
            starts: 1,
            ledger,
            log: Vec::new(),
        };
        node.join();
        node
    }

    fn me(&self) -> PeerId {
        self.ledger.me()
    }

    fn join(&mut self) {
        let member = Member {
            name: format!("node-{}", self.seed),
            proof: self.ledger.keys().admission(&self.me()),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
            joined: Wall(1),
            left: false,
        };
        self.write(DocId::Directory, &[Entry::Member(member)]);
    }

    fn write(&mut self, doc: DocId, entries: &[Entry]) -> Arc<[u8]> {
        let (record, count) = self.ledger.write(doc, entries);
        self.ledger.persisted(doc, count);
        self.log.push(Arc::clone(&record));
        record
    }

    fn accept(&mut self, record: &Arc<[u8]>) -> Accepted {
        let accepted = self.ledger.accept(record).unwrap();
        if matches!(accepted, Accepted::New(_)) {
            self.log.push(Arc::clone(record));
        }
        accepted
    }

    /// Starts again from the log.
    fn restart(&mut self) {
        self.starts += 1;
        self.ledger = Ledger::new(Box::new(keys(self.seed)), Incarnation(self.starts));
        for record in &self.log {
            assert!(matches!(self.ledger.recover(record), Ok(Accepted::New(_))));
        }
    }

    /// Takes everything that `other` shows and this node lacks, as the digest exchange does.
    fn pull(&mut self, other: &Self, limit: usize) {
        while self.ledger.root() != other.ledger.root() {
            let mut news = 0;
            for (doc, digest) in other.ledger.documents() {
                if self.ledger.digest(doc) != Some(digest) {
                    for record in other.ledger.since(doc, &self.ledger.vector(doc), limit) {
                        news += usize::from(matches!(self.accept(&record), Accepted::New(_)));
                    }
                }
            }
            if news == 0 {
                break;
            }
        }
    }
}

fn open(node: &mut Node, committee: &[PeerId]) -> SegmentId {
    let mut committee = committee.to_vec();
    committee.sort_unstable();
    let header = Header {
        format: Header::FORMAT,
        first: 1,
        committee,
        created: Wall(1),
    };
    node.ledger.open_segment(header)
}

fn specs(first: u16, count: usize) -> Entry {
    Entry::Specs(SpecChunk {
        first,
        specs: vec![TaskSpec::command(["echo", "x"]); count],
    })
}

fn mark(epoch: u32) -> ClaimMark {
    ClaimMark {
        epoch: Epoch(epoch),
        started: Some(Wall(7)),
    }
}

fn beat(count: u32, wall_ms: u64) -> Entry {
    Entry::Beat(Beat {
        resources: Vec::new(),
        platform: String::new(),
        runs_as: RunsAs::Anyone,
        progress: Vec::new(),
        missing: Vec::new(),
        count,
        wall: Wall(wall_ms),
        cpu_milli: 4_000,
        free_milli: 4_000,
        memory_bytes: 1 << 30,
        running: 0,
        load_centi: 12,
        version: "0.1.0".to_owned(),
        neighbours: Vec::new(),
    })
}

/// Some of every kind of entry that any witness may write, by `choice`.
fn some_entries(choice: u8, index: u16, epoch: u32) -> Vec<Entry> {
    let epoch_of = Epoch(epoch);
    let claimant = PeerId([1; 32]).tag();
    match choice {
        0 => vec![Entry::Bids(vec![Bid {
            index,
            epoch: epoch_of,
            gave_up: false,
        }])],
        1 => vec![Entry::Claim(index, mark(epoch)), Entry::Live(1)],
        2 => vec![Entry::Live(-1), Entry::Count(Total::Succeeded, 1)],
        3 => {
            let origin = (epoch_of, claimant);
            let outcome = Outcome {
                origin,
                verdict: Verdict::Success,
                report: None,
                reason: None,
            };
            vec![Entry::Outcomes(vec![OutcomeAt {
                index,
                epoch: epoch_of,
                outcome,
            }])]
        }
        _ => {
            let vote = Vote {
                index,
                generation: Generation::FIRST,
                epoch: epoch_of,
                claimant,
                accepted: None,
            };
            vec![Entry::Votes(vec![vote]), Entry::Count(Total::Started, 2)]
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A node writes.
    Write {
        node: usize,
        choice: u8,
        index: u16,
        epoch: u32,
    },
    /// Some record of one node's log reaches another.
    Push {
        from: usize,
        to: usize,
        which: prop::sample::Index,
    },
    /// A node repairs itself from another.
    Pull { from: usize, to: usize },
    /// A node starts again.
    Restart { node: usize },
    /// A node's Automerge catches up early.
    Settle { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..5_u8, 0..4_u16, 1..5_u32)
            .prop_map(|(node, choice, index, epoch)| Step::Write { node, choice, index, epoch }),
        8 => (0..3_usize, 0..3_usize, any::<prop::sample::Index>())
            .prop_map(|(from, to, which)| Step::Push { from, to, which }),
        2 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Pull { from, to }),
        1 => (0..3_usize).prop_map(|node| Step::Restart { node }),
        1 => (0..3_usize).prop_map(|node| Step::Settle { node }),
    ]
}

/// Everything that two replicas with the same changes must agree on.
fn picture(node: &mut Node, segment: SegmentId) -> impl PartialEq + std::fmt::Debug + use<> {
    let doc = DocId::Segment(segment);
    let ledger = &mut node.ledger;
    let claims: Vec<_> = (0..4).map(|index| ledger.claims(segment, index)).collect();
    let totals = Total::ALL.map(|total| ledger.total(segment, total));
    let live = ledger.live(segment);
    let heads = [ledger.heads(doc), ledger.heads(DocId::Directory)];
    (
        ledger.root(),
        ledger.vector(doc),
        claims,
        totals,
        live,
        heads,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// Whatever the order in which changes travel, get lost, come twice or are replayed, replicas that have the same changes
    /// read the same from them.
    #[test]
    fn prop_replicas_converge(
        steps in prop::collection::vec(step(), 0..60),
        limit in 1..4_000_usize,
    ) {
        let mut nodes = [1, 2, 3].map(Node::new);
        let committee = [nodes[0].me(), nodes[1].me(), nodes[2].me()];
        let segment = open(&mut nodes[0], &committee);
        let doc = DocId::Segment(segment);
        nodes[0].write(doc, &[specs(0, 4), Entry::Count(Total::Submitted, 4)]);
        let mut live = 0;
        for step in steps {
            match step {
                Step::Write { node, choice, index, epoch } => {
                    // A node writes to a segment once it has its header.
                    if nodes[node].ledger.count(doc, &committee[0]) > 0 {
                        live += match choice { 1 => 1, 2 => -1, _ => 0 };
                        nodes[node].write(doc, &some_entries(choice, index, epoch));
                    }
                }
                Step::Push { from, to, which } => {
                    let log = &nodes[from].log;
                    let record = Arc::clone(&log[which.index(log.len())]);
                    nodes[to].accept(&record);
                }
                Step::Pull { from, to } if from != to => {
                    let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
                    to.pull(from, limit);
                }
                Step::Pull { .. } => {}
                Step::Restart { node } => nodes[node].restart(),
                Step::Settle { node } => nodes[node].ledger.settle_all(1),
            }
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2), (2, 0)] {
            let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
            to.pull(from, limit);
        }
        let [a, b, c] = &mut nodes;
        let first = picture(a, segment);
        prop_assert!(first == picture(b, segment), "{:?}", b.ledger.stats());
        prop_assert!(first == picture(c, segment), "{:?}", c.ledger.stats());
        let sum: i64 = a.ledger.live(segment).iter().map(|(_, count)| count).sum();
        prop_assert_eq!(sum, live);
        for node in &mut nodes {
            let before = picture(node, segment);
            node.restart();
            prop_assert!(before == picture(node, segment), "a restart changes nothing");
            prop_assert!(node.ledger.take_quarantined().is_empty());
            prop_assert_eq!(node.ledger.stats().failed_applies, 0);
        }
    }
}

#[test]
fn a_change_is_shown_once_it_is_durable() {
    let mut node = Node::new(1);
    let me = node.me();
    let segment = open(&mut node, &[me]);
    let doc = DocId::Segment(segment);
    let root = node.ledger.root();
    assert!(node.ledger.has(doc) && node.ledger.header(segment).is_some());
    let (first, count) = node.ledger.write(doc, &[specs(0, 2)]);
    let (second, _) = node.ledger.write(doc, &[specs(2, 2)]);
    assert_eq!(
        (
            count,
            node.ledger.count(doc, &me),
            node.ledger.durable_count(doc)
        ),
        (1, 2, 0)
    );
    assert_eq!(node.ledger.root(), root);
    assert_eq!(node.ledger.vector(doc), []);
    assert_eq!(node.ledger.documents().count(), 1, "the directory alone");
    assert!(node.ledger.since(doc, &[], usize::MAX).is_empty());
    node.ledger.persisted(doc, 1);
    assert_ne!(node.ledger.root(), root);
    assert_eq!(node.ledger.vector(doc), [(me, 1)]);
    assert_eq!(
        node.ledger.since(doc, &[], usize::MAX),
        [Arc::clone(&first)]
    );
    node.ledger.persisted(doc, 2);
    assert_eq!(node.ledger.since(doc, &[(me, 1)], usize::MAX), [second]);
    assert_eq!(
        node.ledger.since(doc, &[], 1),
        [first],
        "at least one, else nothing would move"
    );
    node.ledger.drop_document(doc);
    assert_eq!(node.ledger.root(), root);
    assert!(!node.ledger.has(doc));
    assert_eq!(node.ledger.digest(doc), None);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    let me = node.me();
    let first = open(&mut node, &[me]);
    let doc = DocId::Segment(first);
    node.write(
        doc,
        &[specs(0, 3), Entry::Claim(0, mark(1)), Entry::Live(2)],
    );
    peer.pull(&node, 1 << 20);
    let heads = node.ledger.heads(doc);
    for round in 2..5_u32 {
        node.restart();
        if round == 2 {
            assert_eq!(node.ledger.heads(doc), heads);
        }
        assert_eq!(node.ledger.durable_count(doc), round - 1);
        let record = node.write(doc, &[Entry::Claim(0, mark(round)), Entry::Live(-1)]);
        assert_eq!(Ledger::peek(&record), Some((doc, me, round)));
        assert!(matches!(peer.accept(&record), Accepted::New(_)));
    }
    assert_eq!(
        peer.ledger.claims(first, 0),
        [(me, mark(4))],
        "own claims supersede earlier ones"
    );
    assert_eq!(peer.ledger.live(first), [(me, -1)]);
    assert_eq!(
        open(&mut node, &[me]),
        SegmentId { author: me, n: 1 },
        "numbers go on"
    );
    let torn = Ledger::new(Box::new(keys(1)), Incarnation(9)).recover(&node.log[2]);
    assert_eq!(
        torn,
        Ok(Accepted::Stranger { author: me }),
        "a log that has lost its beginning"
    );
}

#[test]
fn claims_of_several_peers_are_a_conflict_set() {
    let mut nodes = [1, 2, 3].map(Node::new);
    let me = nodes[0].me();
    let segment = open(&mut nodes[0], &[me]);
    let doc = DocId::Segment(segment);
    nodes[0].write(doc, &[specs(0, 1)]);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let [from, to] = nodes.get_disjoint_mut([from, to]).unwrap();
        to.pull(from, 1 << 20);
    }
    let mut expected = Vec::new();
    for (node, epoch) in nodes.iter_mut().zip([3, 1, 2]) {
        node.write(doc, &[Entry::Claim(0, mark(epoch)), Entry::Live(1)]);
        expected.push((node.me(), mark(epoch)));
    }
    expected.sort_by_key(|(_, mark)| mark.epoch);
    let [a, b, c] = &mut nodes;
    a.pull(b, 1 << 20);
    a.pull(c, 1 << 20);
    assert_eq!(a.ledger.claims(segment, 0), expected);
    assert_eq!(
        a.ledger.live(segment).iter().map(|(_, n)| n).sum::<i64>(),
        3
    );
}

#[test]
fn gaps_and_strangers_leave_no_trace() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    let author = node.me();
    let segment = open(&mut node, &[author]);
    let doc = DocId::Segment(segment);
    let first = node.write(doc, &[specs(0, 1)]);
    let second = node.write(doc, &[Entry::End(1)]);
    assert_eq!(peer.accept(&first), Accepted::Stranger { author });
    peer.accept(&node.log[0].clone());
    assert_eq!(peer.accept(&second), Accepted::Gap { doc });
    assert!(!peer.ledger.has(doc));
    assert!(matches!(peer.accept(&first), Accepted::New(_)));
    assert!(matches!(peer.accept(&second), Accepted::New(_)));
    assert_eq!(peer.accept(&second), Accepted::Known);
    let stats = peer.ledger.stats();
    assert_eq!(
        (stats.strangers, stats.gaps, stats.known, stats.accepted),
        (1, 1, 1, 3)
    );
}

#[test]
fn a_segment_has_an_end() {
    let mut node = Node::new(1);
    let me = node.me();
    let segment = open(&mut node, &[me]);
    let doc = DocId::Segment(segment);
    let environment = Environment::default();
    let environment = Entry::Environment(environment.digest(), environment);
    node.write(doc, &[Entry::End(2), environment, specs(0, 2)]);
    let late = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        node.ledger.write(doc, &[specs(2, 1)]);
    }));
    assert!(late.is_err(), "writing on is a broken invariant of ours");
}

/// A node that was restarted within a minute has forgotten the beats of that minute; its peers have not.
#[test]
fn a_restart_within_a_minute_goes_on_beating() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    peer.pull(&node, 1 << 20);
    let doc = DocId::Presence(10);
    let log = node.log.clone();
    let wall = |ms: u64| 600_000 + ms;
    for count in 0..3 {
        let record = node.write(doc, &[beat(count, wall(u64::from(count) * 2_000))]);
        assert!(matches!(peer.accept(&record), Accepted::New(_)));
    }
    node.log.clone_from(&log);
    node.restart();
    let first = node.write(doc, &[beat(0, wall(9_000))]);
    let second = node.write(doc, &[beat(1, wall(9_001))]);
    assert_eq!(peer.accept(&second), Accepted::Gap { doc });
    assert!(matches!(peer.accept(&first), Accepted::New(_)));
    assert!(matches!(peer.accept(&second), Accepted::New(_)));
    assert_eq!(peer.ledger.vector(doc), node.ledger.vector(doc));
    assert_eq!(peer.ledger.since(doc, &[], usize::MAX), [first, second]);

    node.log = log;
    node.restart();
    let back = node.write(doc, &[beat(0, wall(3_000))]);
    assert_eq!(
        peer.accept(&back),
        Accepted::Known,
        "a clock that went back blames nobody"
    );
    assert!(peer.ledger.take_quarantined().is_empty());
    peer.ledger.settle(doc);
    assert_eq!(peer.ledger.stats().failed_applies, 0);
}

/// A beat of an earlier start that comes late, from a neighbour that stood still, say, with a count beyond what its author has
/// come to since: its wall clock went back in between.
#[test]
fn a_late_beat_of_an_earlier_start_is_no_news() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    peer.pull(&node, 1 << 20);
    let doc = DocId::Presence(10);
    let log = node.log.clone();
    let wall = |ms: u64| 600_000 + ms;
    let early = node.write(doc, &[beat(0, wall(20_000))]);
    let late = node.write(doc, &[beat(1, wall(20_001))]);
    node.log = log;
    node.restart();
    let first = node.write(doc, &[beat(0, wall(9_000))]);
    assert!(matches!(peer.accept(&first), Accepted::New(_)));
    // Who has not seen that start does not know better, but for its author.
    assert!(matches!(peer.accept(&early), Accepted::New(_)));
    for record in [&early, &late] {
        assert_eq!(node.accept(record), Accepted::Known);
    }
    // Nobody goes back and forth between two starts.
    let second = node.write(doc, &[beat(1, wall(9_001))]);
    assert_eq!(peer.accept(&second), Accepted::Known);
    let third = node.write(doc, &[beat(2, wall(9_002))]);
    assert_eq!(peer.accept(&third), Accepted::Known);
    for ledger in [&mut node.ledger, &mut peer.ledger] {
        ledger.settle(doc);
        assert_eq!(ledger.stats().failed_applies, 0);
        assert!(ledger.take_quarantined().is_empty());
    }
}

/// Costs are counts, not times: Automerge is called once for many changes, and only when somebody asks or many wait.
#[test]
fn automerge_is_called_for_batches() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    let me = node.me();
    let segment = open(&mut node, &[me]);
    let doc = DocId::Segment(segment);
    node.write(doc, &[specs(0, 64)]);
    for index in 0..200 {
        node.write(doc, &some_entries(0, index, 1));
    }
    peer.pull(&node, usize::MAX);
    assert_eq!(
        (node.ledger.stats().applies, peer.ledger.stats().applies),
        (0, 0)
    );
    assert_eq!(peer.ledger.stats().queued, 203, "and two who joined");
    assert_eq!(peer.ledger.heads(doc), node.ledger.heads(doc));
    assert_eq!(
        (node.ledger.stats().applies, peer.ledger.stats().applies),
        (1, 1)
    );
    for index in 200..712 {
        node.write(doc, &some_entries(0, index, 1));
    }
    assert_eq!(node.ledger.stats().applies, 3, "the queue is bounded");
}

#[test]
fn a_node_may_meet_its_own_words() {
    let mut node = Node::new(1);
    let mut peer = Node::new(2);
    let me = node.me();
    let segment = open(&mut node, &[me]);
    let doc = DocId::Segment(segment);
    node.write(doc, &[specs(0, 1)]);
    peer.pull(&node, 1 << 20);
    // The disk lost the tail of the log though it had said that it was durable.
    node.log.truncate(1);
    node.restart();
    assert!(!node.ledger.has(doc));
    node.pull(&peer, 1 << 20);
    assert_eq!(node.ledger.durable_count(doc), 1);
    assert_eq!(open(&mut node, &[me]).n, 1);
    let kept = node.log.len();
    let record = node.write(doc, &[specs(1, 1)]);
    assert!(matches!(peer.accept(&record), Accepted::New(_)));
    // And where it has written other words in the meantime, its peers say so.
    node.log.truncate(kept);
    node.restart();
    let fork = node.write(doc, &[specs(1, 2)]);
    assert_eq!(peer.ledger.accept(&fork), Err(Refused::Equivocation));
    assert_eq!(peer.ledger.take_quarantined().len(), 1);
}
