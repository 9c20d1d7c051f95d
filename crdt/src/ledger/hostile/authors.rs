//! Who may speak at all, and who has spoken twice.

use super::*;

fn beat(wall_ms: u64) -> Entry {
    Entry::Beat(crate::entry::Beat {
        count: 1,
        wall: Wall(wall_ms),
        cpu_milli: 1_000,
        free_milli: 1_000,
        resources: Vec::new(),
        platform: String::new(),
        runs_as: RunsAs::Anyone,
        progress: Vec::new(),
        missing: Vec::new(),
        memory_bytes: 0,
        running: 0,
        load_centi: 0,
        version: String::new(),
        neighbours: Vec::new(),
    })
}

#[test]
fn admission_is_proved_and_tags_are_unique() {
    let mut scene = Scene::new();
    let stranger = Ed25519Keys::new(&[3; 32], &[8; 32]);
    let mut foreign = Ledger::new(Box::new(stranger), Incarnation(1));
    let uninvited = foreign
        .write(DocId::Directory, &[member(foreign.keys(), "x")])
        .0;
    assert_eq!(
        scene.host.accept(&uninvited),
        Err(Refused::Rule(Rule::Proof))
    );
    let author = foreign.me();
    let beat = foreign.write(DocId::Presence(1), &[beat(60_001)]).0;
    assert_eq!(scene.host.accept(&beat), Ok(Accepted::Stranger { author }));
    assert!(
        scene.host.take_quarantined().is_empty(),
        "a stranger leaves no trace"
    );
    assert!(!scene.host.is_member(&author));

    let tag = author.tag();
    scene.host.peers.insert(tag, PeerId([0; 32]));
    let mut twin = Ledger::new(
        Box::new(Ed25519Keys::new(&[3; 32], &SECRET)),
        Incarnation(1),
    );
    let record = twin.write(DocId::Directory, &[member(twin.keys(), "x")]).0;
    assert_eq!(scene.host.accept(&record), Err(Refused::Rule(Rule::Tag)));
    scene.host.peers.remove(&tag);
    assert!(matches!(scene.host.accept(&record), Ok(Accepted::New(_))));
    assert_eq!(scene.host.peer_of(tag), Some(author));
}

#[test]
fn an_equivocation_ends_the_chain_and_a_forgery_does_not() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let honest = scene.evil.since(doc, &[], usize::MAX);
    assert!(
        honest
            .iter()
            .all(|record| Ledger::peek(record).unwrap().1 != scene.evil.me())
    );
    let held = scene.host.since(doc, &[], usize::MAX).pop().unwrap();
    assert_eq!(scene.host.accept(&held), Ok(Accepted::Known), "a replay");
    let head = Envelope::parse(&held).unwrap().head;
    assert_eq!((head.author, head.count), (scene.evil.me(), 1));

    let framed = seal(&head, b"something else", &keys(1));
    assert_eq!(
        scene.host.accept(&framed),
        Err(Refused::Signature),
        "others cannot frame it"
    );
    let mut again = held.to_vec();
    *again.last_mut().unwrap() ^= 1;
    assert_eq!(
        scene.host.accept(&again.into()),
        Ok(Accepted::Known),
        "same words"
    );
    assert!(scene.host.take_quarantined().is_empty());

    let second = seal(&head, b"something else", scene.evil.keys());
    assert_eq!(scene.host.accept(&second), Err(Refused::Equivocation));
    assert_eq!(scene.host.take_quarantined().len(), 1);
    let next = scene.evil.write(doc, &[Entry::Live(1)]).0;
    assert_eq!(scene.host.accept(&next), Err(Refused::Quarantined));
    scene.is_unharmed();
}

#[test]
fn an_earlier_incarnation_never_comes_back() {
    let mut scene = Scene::new();
    let doc = scene.doc();
    let log = scene.host.since(doc, &[], usize::MAX);
    let mut later = Ledger::new(Box::new(keys(2)), Incarnation(21));
    for record in scene
        .host
        .since(DocId::Directory, &[], usize::MAX)
        .iter()
        .chain(&log)
    {
        later.recover(record).unwrap();
    }
    let second = later.write(doc, &[Entry::Live(1)]).0;
    assert!(matches!(scene.host.accept(&second), Ok(Accepted::New(_))));
    let chunk = Envelope::parse(&second).unwrap().chunk;
    assert_eq!(
        scene.give(doc, chunk),
        Err(Refused::Rule(Rule::Incarnation))
    );
    scene.is_unharmed();
}
