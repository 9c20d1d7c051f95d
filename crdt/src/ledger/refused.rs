//! Why a change is refused, rule by rule, and the counts of it.

use std::collections::BTreeMap;

/// Why a change was refused. Nothing of it was stored; what each case does to its author's chain is said there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Not an envelope of this version.
    #[error("malformed envelope")]
    Malformed,
    /// Longer than [`super::MAX_ENVELOPE`].
    #[error("envelope of {0} bytes")]
    Oversized(usize),
    /// Not signed by its author; says nothing about the author.
    #[error("the signature is not its author's")]
    Signature,
    /// Its author signed two changes for one place: its chain ends here.
    #[error("the author signed two changes for one place of its chain")]
    Equivocation,
    /// The author's chain in this document has ended because of an earlier change.
    #[error("the author is quarantined in this document")]
    Quarantined,
    /// Signed, and against a rule: a member's chain in a document held here ends.
    #[error("{0}")]
    Rule(#[from] Rule),
}

/// The rules of a change, in the order in which they are checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Rule {
    /// Automerge's compressed chunks hide their size.
    #[error("compressed data")]
    Compressed,
    /// Not one whole change chunk.
    #[error("not a change chunk")]
    Chunk,
    /// A column that flat documents do not have.
    #[error("unknown column")]
    Columns,
    /// An operation on an object other than the root.
    #[error("operation on another object than the root")]
    Object,
    /// A list key or an insertion.
    #[error("list operation")]
    List,
    /// No operation, too many, or columns of different lengths.
    #[error("number of operations")]
    Operations,
    /// Neither a put nor an increment.
    #[error("action other than put or increment")]
    Action,
    /// Not this author's actor in this document and incarnation.
    #[error("foreign actor")]
    Actor,
    /// An earlier incarnation that comes back.
    #[error("incarnation of the past")]
    Incarnation,
    /// Not the actor's next sequence number.
    #[error("sequence number")]
    Sequence,
    /// Not exactly the author's previous change, or the segment's header.
    #[error("dependencies")]
    Dependency,
    /// Not the first operation counter above the dependency's last.
    #[error("operation counter")]
    Start,
    /// The document's space of operation counters is used up.
    #[error("operation counters used up")]
    Space,
    /// A time, a message or extra bytes.
    #[error("time, message or extra bytes")]
    Decoration,
    /// A key outside the grammar.
    #[error("unknown key")]
    Key,
    /// A value that does not decode.
    #[error("malformed value")]
    Value,
    /// A register of another peer, or of the segment's author or committee alone.
    #[error("register of another writer")]
    Writer,
    /// A write-once chunk under another number than that of its change.
    #[error("chunk under another number than its change")]
    Number,
    /// One key twice in one change.
    #[error("key twice in one change")]
    KeyTwice,
    /// An entry of another kind of document.
    #[error("entry in the wrong kind of document")]
    Document,
    /// A header that is missing, in the wrong place, or malformed.
    #[error("segment header")]
    Header,
    /// Specs that do not follow the earlier ones, or too many or too large.
    #[error("chunk of specs")]
    Specs,
    /// An environment twice, or under another digest.
    #[error("environment")]
    Environment,
    /// More from the segment's author after its end, or a wrong end.
    #[error("end of the segment")]
    End,
    /// A task index beyond the segment.
    #[error("task index")]
    Index,
    /// An empty batch, one too long, or a task twice in it.
    #[error("batch")]
    Batch,
    /// Epoch or round 0, one beyond the last that may be written, or an accept newer than its vote or promise.
    #[error("epoch or round")]
    Epoch,
    /// A text or list beyond its bound.
    #[error("text or list too long")]
    Length,
    /// A witness's wait beyond its bound.
    #[error("wait of a witness")]
    Wait,
    /// Ranges of lapsed segments that nobody can have stated.
    #[error("ranges of lapsed segments")]
    Lapsed,
    /// A counter's step beyond its bound.
    #[error("counter step")]
    Step,
    /// A want stamped with another peer's tag, or so far ahead that none could follow.
    #[error("stamp of another peer, or beyond all clocks")]
    Stamp,
    /// The writer does not prove that it was admitted.
    #[error("admission proof")]
    Proof,
    /// Another member bears the same tag.
    #[error("tag of another member")]
    Tag,
    /// Predecessors other than the author's own latest value of the key.
    #[error("predecessors")]
    Predecessor,
    /// Anything else in which it differs from what an honest author would have written.
    #[error("not in canonical form")]
    Canonical,
}

impl Rule {
    /// Returns its name, the same in every version: `rule-` and words joined by `-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compressed => "rule-compressed",
            Self::Chunk => "rule-chunk",
            Self::Columns => "rule-columns",
            Self::Object => "rule-object",
            Self::List => "rule-list",
            Self::Operations => "rule-operations",
            Self::Action => "rule-action",
            Self::Actor => "rule-actor",
            Self::Incarnation => "rule-incarnation",
            Self::Sequence => "rule-sequence",
            Self::Dependency => "rule-dependency",
            Self::Start => "rule-start",
            Self::Space => "rule-space",
            Self::Decoration => "rule-decoration",
            Self::Key => "rule-key",
            Self::Value => "rule-value",
            Self::Writer => "rule-writer",
            Self::Number => "rule-number",
            Self::KeyTwice => "rule-key-twice",
            Self::Document => "rule-document",
            Self::Header => "rule-header",
            Self::Specs => "rule-specs",
            Self::Environment => "rule-environment",
            Self::End => "rule-end",
            Self::Index => "rule-index",
            Self::Batch => "rule-batch",
            Self::Epoch => "rule-epoch",
            Self::Length => "rule-length",
            Self::Wait => "rule-wait",
            Self::Lapsed => "rule-lapsed",
            Self::Step => "rule-step",
            Self::Stamp => "rule-stamp",
            Self::Proof => "rule-proof",
            Self::Tag => "rule-tag",
            Self::Predecessor => "rule-predecessor",
            Self::Canonical => "rule-canonical",
        }
    }
}

/// Counts since the start of the process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LedgerStats {
    /// Documents held now.
    pub documents: usize,
    /// Changes waiting for Automerge now.
    pub queued: usize,
    /// Own changes written.
    pub written: u64,
    /// New changes of others, and own ones found in the log.
    pub accepted: u64,
    /// Changes that were held already.
    pub known: u64,
    /// Changes whose predecessor was missing.
    pub gaps: u64,
    /// Changes of peers that are no members yet.
    pub strangers: u64,
    /// [`Refused::Malformed`].
    pub malformed: u64,
    /// [`Refused::Oversized`].
    pub oversized: u64,
    /// [`Refused::Signature`].
    pub signature: u64,
    /// [`Refused::Equivocation`].
    pub equivocation: u64,
    /// [`Refused::Quarantined`].
    pub quarantined: u64,
    /// [`Refused::Rule`], by rule.
    pub rules: BTreeMap<Rule, u64>,
    /// Calls of Automerge's apply.
    pub applies: u64,
    /// Batches that Automerge refused or panicked on.
    pub failed_applies: u64,
}

impl LedgerStats {
    pub(super) fn refuse(&mut self, why: Refused) {
        let count = match why {
            Refused::Malformed => &mut self.malformed,
            Refused::Oversized(_) => &mut self.oversized,
            Refused::Signature => &mut self.signature,
            Refused::Equivocation => &mut self.equivocation,
            Refused::Quarantined => &mut self.quarantined,
            Refused::Rule(rule) => self.rules.entry(rule).or_default(),
        };
        *count += 1;
    }
}
