//! A member of the mesh that has the ticket and breaks the rules: real sockets, real signatures, and a ledger of its own. What it
//! sends is dropped, told of under its name by `aque doctor`, and keeps no task from running.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use crdt::entry::{Bid, Entry, Member};
use crdt::ids::{DocId, Epoch, Incarnation, PeerId, SegmentId};
use crdt::keys::{Ed25519Keys, Keys};
use crdt::ledger::Ledger;
use crdt::message::Message;
use crdt::time::Wall;
use net::{Identity, Lane, Net, NetConfig, NetEvent, PeerKey, Ticket};
use serde_json::Value;
use tests::{Cluster, Evidence, Node, settle};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::all_succeed;

/// What an envelope says before its chunk: document, author, start, place.
type Head = (DocId, PeerId, Incarnation, u32);

const NAME: &str = "traitor";
const VERSION: u8 = 1;
const SIGNATURE: usize = 64;

struct Traitor {
    net: Net,
    events: Receiver<NetEvent>,
    connected: BTreeSet<PeerKey>,
    ledger: Ledger,
    keys: Ed25519Keys,
    joining: Arc<[u8]>,
    /// What the others wrote, as it came.
    heard: Vec<Arc<[u8]>>,
    _runtime: Runtime,
}

impl Traitor {
    /// Joins as any host does: with a ticket.
    fn join(ticket: &str) -> Self {
        let ticket: Ticket = ticket.parse().expect("the node prints a ticket");
        let identity = Identity::generate();
        let keys = || Ed25519Keys::new(&identity.secret_bytes(), &ticket.secret.0);
        let mut ledger = Ledger::new(Box::new(keys()), Incarnation(1));
        let member = Member {
            name: NAME.to_owned(),
            proof: ledger.keys().admission(&ledger.me()),
            addresses: Vec::new(),
            joined: Wall(1),
            left: false,
        };
        let (joining, count) = ledger.write(DocId::Directory, &[Entry::Member(member)]);
        ledger.persisted(DocId::Directory, count);
        let runtime = Runtime::new().expect("threads can be made");
        let config = NetConfig {
            bootstrap: ticket.addrs.clone(),
            ..NetConfig::new(identity.clone(), ticket.secret.clone())
        };
        let started = runtime.block_on(net::start(config));
        let (net, events) = started.expect("the network starts");
        Self {
            net,
            events,
            connected: BTreeSet::new(),
            ledger,
            keys: keys(),
            joining,
            heard: Vec::new(),
            _runtime: runtime,
        }
    }

    /// Takes what has come.
    fn listen(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                NetEvent::Up { peer, .. } => {
                    self.connected.insert(peer);
                }
                NetEvent::Down { peer, .. } => {
                    self.connected.remove(&peer);
                }
                NetEvent::Frame { frame, .. } => {
                    let Ok(Message::Changes(records)) = Message::decode(&frame) else {
                        continue;
                    };
                    for record in records {
                        let _known = self.ledger.accept(&record).is_ok();
                        self.heard.push(record);
                    }
                }
                NetEvent::Incoming { .. } | NetEvent::Listening { .. } => {}
            }
        }
    }

    fn send(&self, message: &Message) {
        for peer in &self.connected {
            let frame = Bytes::copy_from_slice(&message.encode());
            // What is lost is said again.
            let _sent = self.net.send(*peer, Lane::Gossip, frame).is_ok();
        }
    }

    fn give(&self, record: Arc<[u8]>) {
        self.send(&Message::Changes(vec![record]));
    }

    /// Says who it is and asks for all that is known, until it has heard of a segment; returns how that begins.
    fn hear_of_a_segment(&mut self) -> (SegmentId, Arc<[u8]>) {
        settle("the traitor to hear of a task", || {
            self.listen();
            self.give(Arc::clone(&self.joining));
            self.send(&Message::Documents(Vec::new()));
            let begins = self.heard.iter().find_map(|record| {
                let (doc, author, count) = Ledger::peek(record)?;
                match doc {
                    DocId::Segment(segment) if segment.author == author && count == 1 => {
                        Some((segment, Arc::clone(record)))
                    }
                    DocId::Segment(_) | DocId::Directory | DocId::Presence(_) => None,
                }
            });
            let known = |(segment, _): &(SegmentId, _)| self.ledger.has(DocId::Segment(*segment));
            begins.filter(known).ok_or("it knows of none")
        })
    }

    /// A bid above all that there will ever be: well-formed, signed, and a breach of the protocol.
    fn leap(&mut self, segment: SegmentId) -> Arc<[u8]> {
        let bid = Bid {
            index: 0,
            epoch: Epoch::LAST,
            gave_up: false,
        };
        let doc = DocId::Segment(segment);
        let (record, count) = self.ledger.write(doc, &[Entry::Bids(vec![bid])]);
        self.ledger.persisted(doc, count);
        record
    }

    /// The registers that another wrote, under a head of this traitor's making, signed by itself.
    fn seal(&self, head: Head, of: &[u8]) -> Arc<[u8]> {
        let body = &of[1..of.len() - SIGNATURE];
        let (_, chunk) = postcard::take_from_bytes::<Head>(body).expect("what came is an envelope");
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(&head).expect("a head encodes"));
        bytes.extend_from_slice(chunk);
        let hash = blake3::derive_key("aque 2026 signed change", &bytes);
        bytes.extend(self.keys.sign(&hash));
        bytes.into()
    }
}

/// What a node's doctor says that the traitor did.
fn told(node: &Node) -> Result<BTreeSet<String>, String> {
    let said = node.aque(&["--json", "doctor"]).run();
    let checkup: Value = serde_json::from_str(&said.stdout).map_err(|error| error.to_string())?;
    let offences = checkup["offences"].as_array().ok_or("no offences")?;
    let others = offences.iter().find(|line| line["host"] != NAME);
    if let Some(other) = others {
        return Err(format!("an honest host is blamed: {other}"));
    }
    let kinds = offences.iter().filter_map(|line| line["kind"].as_str());
    Ok(kinds.map(str::to_owned).collect())
}

#[track_caller]
fn wait_told(node: &Node, traitor: &mut Traitor, kinds: &[&str], sent: &[Arc<[u8]>]) {
    let expected: BTreeSet<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    settle(&format!("{} to tell of {kinds:?}", node.name()), || {
        traitor.listen();
        let told = told(node)?;
        if told.is_superset(&expected) {
            return Ok(());
        }
        sent.iter()
            .for_each(|record| traitor.give(Arc::clone(record)));
        Err(format!("it tells of {told:?}"))
    });
}

#[test]
fn a_member_that_breaks_the_rules_is_named_and_harms_no_task() {
    let cluster = Cluster::start(3);
    let evidence = Evidence::new(cluster.dir());
    let gate = cluster.path("gate");
    let before = cluster[0].submit(&[], &evidence.until(&gate));
    let mut traitor = Traitor::join(&cluster[0].ready().ticket);
    let (segment, first) = traitor.hear_of_a_segment();
    let doc = DocId::Segment(segment);

    let leap = traitor.leap(segment);
    wait_told(&cluster[0], &mut traitor, &["epoch-leap"], &[leap]);
    // In the name of the segment's author, which has said something else in this place.
    let forged = traitor.seal((doc, segment.author, Incarnation(1), 2), &first);
    wait_told(&cluster[0], &mut traitor, &["forged-signature"], &[forged]);
    // In its own name, and yet what another's registers say.
    let me = traitor.ledger.me();
    let stolen = traitor.seal((doc, me, Incarnation(1), 2), &first);
    let all = ["epoch-leap", "forged-signature", "rule-actor"];
    wait_told(&cluster[0], &mut traitor, &all, &[stolen]);

    // The others have it from the first, and do not blame it for that.
    for node in &cluster.nodes()[1..] {
        wait_told(node, &mut traitor, &["epoch-leap"], &[]);
    }
    let text = cluster[0].aque(&["doctor"]).run();
    let line = format!("host {NAME}");
    assert!(text.stdout.contains(&line), "{text}");
    assert!(text.stdout.contains("an epoch leapt ahead"), "{text}");

    let after: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| node.submit(&[], &evidence.brief()))
        .collect();
    fs::write(&gate, "").expect("the gate opens");
    all_succeed(&cluster, 1 + after.len());
    let ids = [vec![before], after].concat();
    evidence.history().judge(&ids, &[]);
}
