//! What runs wrote: files addressed by the digest of what is in them.
//!
//! ```text
//! <data>/outputs/live/<run>.out, .err   while a run writes them
//! <data>/outputs/ab/<digest in hex>     afterwards; ab is the start of the digest
//! <data>/outputs/spool/<digest in hex>  of another host, while runs of this one read it
//! <data>/progress/<run>, .call          what a run says of how far it is, and a call of why it came to nothing; each file is its run's user's
//! ```
//! Of an output that is longer than the limit the beginning and the end are kept, with a line between them that says how much
//! is missing; while it is written, the file loses its middle and keeps its length, so that the disk does not fill with it.
//!
//! The same bytes are kept once, whoever wrote them. An empty output has no file. All functions
//! read or write disks and block: call them on a thread that may. Digests are blake3.
//!
//! Outputs are not synced. What a loss of power leaves of one is found by [`Outputs::verify`] (and
//! by [`Outputs::adopt`], for one that comes again); the outcome of its run, which names the
//! digest, is not touched by that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER_PERMISSIVE;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::guard::RunKey;
use crate::lock::{passable_dir, private_dir};
use crate::render::text::size;

/// Bytes that are read and hashed at a time: larger steps let blake3 use wide instructions no
/// better.
const STEP: usize = 128 << 10;
/// What is cut out of a file begins and ends at multiples of this, bytes: a block of any common file system.
const BLOCK: u64 = 4 << 10;
/// Around what is told in the middle of an output of which a part was cut out.
const CUT: [&str; 2] = ["\n[aque: ", " of the middle are cut out]\n"];
/// What is told there is shorter than this, bytes.
const CUT_BYTES: u64 = 256;
/// So much of the end of what a run says of itself is looked at, bytes.
const WORD_WINDOW: u64 = 1 << 10;

/// A blake3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: 64 hexadecimal digits are expected")]
pub struct BadDigest(String);

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| BadDigest(text.to_owned()))
    }
}

/// Which of a run's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What became of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It had no bytes, and there is no file.
    Empty,
    /// It is kept under its digest.
    Stored {
        /// Of all its bytes.
        digest: Digest,
        /// Its size.
        bytes: u64,
    },
}

/// Whether a stored output is what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Intact,
    /// It is not: it was cut short or altered.
    Damaged,
    /// There is none.
    Missing,
}

/// The outputs of one node.
#[derive(Clone, Debug)]
pub struct Outputs {
    dir: PathBuf,
    /// Where runs say something of themselves.
    progress: PathBuf,
    /// How much of an output is kept.
    limit: Option<u64>,
    /// Those that were adopted and that no outcome names yet, and how often: they are not removed.
    pinned: Arc<Mutex<BTreeMap<Digest, u32>>>,
}

impl Outputs {
    /// Opens or makes the store in `dir` (`<data>/outputs`), which keeps at most `limit` bytes of an output.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(dir: &Path, limit: Option<u64>) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        private_dir(&dir)?;
        private_dir(&dir.join("live"))?;
        private_dir(&dir.join("spool"))?;
        let progress = dir.with_file_name("progress");
        passable_dir(&progress)?;
        Ok(Self {
            dir,
            progress,
            limit,
            pinned: Arc::default(),
        })
    }

    /// Where a run's output is while it is being written; absolute, as the guard wants it.
    #[must_use]
    pub fn live(&self, key: RunKey, stream: Stream) -> PathBuf {
        let extension = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        self.dir.join("live").join(format!("{key}.{extension}"))
    }

    /// How much of the beginning of an output is kept, and so of the end.
    fn half(&self) -> u64 {
        self.limit
            .map_or(u64::MAX / 2, |limit| limit / 2 / BLOCK * BLOCK)
    }

    /// Up to which byte a live output is what will be stored of it.
    #[must_use]
    pub fn told_live(&self) -> u64 {
        self.half()
    }

    /// Gives the disk back what will not be kept of a live output that is too long by now. Returns how many bytes that were.
    ///
    /// # Errors
    /// The kernel's; a file system that cannot do that is no error.
    pub fn thin(&self, key: RunKey, stream: Stream) -> io::Result<u64> {
        let half = self.half();
        let path = self.live(key, stream);
        let Some(meta) = missing_is_none(fs::symlink_metadata(&path))? else {
            return Ok(0);
        };
        let (len, on_disk) = (meta.len(), meta.blocks() * 512);
        // Not for every block that is written.
        if !meta.is_file() || len <= 2 * half || on_disk < 2 * half + half / 4 {
            return Ok(0);
        }
        let file = File::options().write(true).open(&path)?;
        let end = (len - half) / BLOCK * BLOCK;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&file, flags, half, end - half) {
            Ok(()) => Ok(on_disk.saturating_sub(file.metadata()?.blocks() * 512)),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file of what is kept of a live output that is too long.
    fn cut(&self, live: &Path) -> io::Result<Option<PathBuf>> {
        let half = self.half();
        let len = match missing_is_none(fs::metadata(live))? {
            Some(meta) if meta.len() > half.saturating_mul(2) => meta.len(),
            Some(_) | None => return Ok(None),
        };
        let cut = live.with_extension("cut");
        let (mut from, mut to) = (File::open(live)?, File::create(&cut)?);
        io::copy(&mut (&from).take(half), &mut to)?;
        let (all, gone) = (size(len), size(len - 2 * half));
        let [before, after] = CUT;
        write!(to, "{before}{all} were written here; {gone}{after}")?;
        from.seek(SeekFrom::Start(len - half))?;
        io::copy(&mut from.take(half), &mut to)?;
        Ok(Some(cut))
    }

    /// Says whether the middle of a stored output was cut out, on whichever host that was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_cut(path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let [before, after] = CUT.map(str::as_bytes);
        let least = (before.len() + after.len()) as u64;
        let half = len.saturating_sub(least) / 2 / BLOCK * BLOCK;
        let told = len - 2 * half;
        if !(least..CUT_BYTES).contains(&told) {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(half))?;
        let mut text = Vec::new();
        file.take(told).read_to_end(&mut text)?;
        Ok(text.starts_with(before) && text.ends_with(after))
    }

    /// Where a stored output is, if it is stored.
    #[must_use]
    pub fn stored(&self, digest: Digest) -> PathBuf {
        self.path(digest)
    }

    /// Where an output of another host is kept for the runs that read it.
    #[must_use]
    pub fn spooled(&self, digest: Digest) -> PathBuf {
        self.dir.join("spool").join(digest.to_string())
    }

    /// Says whether the disk has no room left, as far as it tells.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        rustix::fs::statvfs(&self.dir).is_ok_and(|about| about.f_bavail == 0)
    }

    /// Removes what was kept for runs; to be called at the start: those that are left have opened it.
    ///
    /// # Errors
    /// The kernel's; some may be removed then.
    pub fn sweep_spool(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.dir.join("spool"))? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// Where a run may say how far it is, a line each time; absolute.
    #[must_use]
    pub fn progress(&self, key: RunKey) -> PathBuf {
        self.progress.join(key.to_string())
    }

    /// Where a call says why it came to no result; absolute.
    #[must_use]
    pub fn call(&self, key: RunKey) -> PathBuf {
        self.progress.join(format!("{key}.call"))
    }

    /// Returns the last whole line that a run said of itself, cut to so many bytes; `None` if it has said nothing.
    #[must_use]
    pub fn last_word(&self, key: RunKey, most: usize) -> Option<String> {
        // What it writes is its own affair: nothing but a file is read, and of that only the end.
        let mut options = File::options();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = options.read(true).custom_flags(flags);
        let mut file = opened.open(self.progress(key)).ok()?;
        let size = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
        let from = SeekFrom::Start(size.saturating_sub(WORD_WINDOW));
        file.seek(from).ok()?;
        let mut bytes = Vec::new();
        file.take(WORD_WINDOW).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        let line = line.trim();
        let mut ends = (0..=most.min(line.len())).rev();
        let end = ends.find(|at| line.is_char_boundary(*at))?;
        Some(line[..end].to_owned())
    }

    /// Removes live files of runs that `owned` does not name; to be called at the start, when the
    /// former guard's runs are gone. Returns how many files there were.
    ///
    /// # Errors
    /// The kernel's; some may be removed then.
    pub fn sweep_live(&self, owned: &BTreeSet<RunKey>) -> io::Result<usize> {
        let mut removed = 0;
        let live = fs::read_dir(self.dir.join("live"))?;
        for entry in live.chain(fs::read_dir(&self.progress)?) {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let key = name
                .and_then(|name| u64::from_str_radix(name, 16).ok())
                .map(RunKey);
            if !key.is_some_and(|key| owned.contains(&key)) {
                fs::remove_file(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Takes a file that nobody writes any more into the store, under the digest of its bytes. It
    /// keeps its old name as well, until [`Outputs::release`]: what is adopted twice is there twice.
    /// A file that is missing counts as empty: the guard removes empty ones. Of one that is too long a part is taken. What is stored
    /// is not [removed](Self::remove) until it is [unpinned](Self::unpin), once for each time that it was adopted.
    ///
    /// # Errors
    /// The kernel's; the file is then where it was.
    pub fn adopt(&self, live: &Path) -> io::Result<Adopted> {
        let Some(cut) = self.cut(live)? else {
            return self.adopt_whole(live);
        };
        let adopted = self.adopt_whole(&cut);
        missing_is_none(fs::remove_file(&cut))?;
        adopted
    }

    fn adopt_whole(&self, live: &Path) -> io::Result<Adopted> {
        let file = match File::open(live) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Adopted::Empty),
            other => other?,
        };
        let (digest, bytes) = hash(file)?;
        if bytes == 0 {
            return Ok(Adopted::Empty);
        }
        let mut pinned = self.pinned();
        if self.size(digest)? != Some(bytes) {
            self.place(live, &self.path(digest))?;
        }
        *pinned.entry(digest).or_default() += 1;
        Ok(Adopted::Stored { digest, bytes })
    }

    /// Removes the live files of a run of which nothing more is needed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn release(&self, key: RunKey) -> io::Result<()> {
        for stream in [Stream::Out, Stream::Err] {
            missing_is_none(fs::remove_file(self.live(key, stream)))?;
        }
        missing_is_none(fs::remove_file(self.progress(key)))?;
        missing_is_none(fs::remove_file(self.call(key)))?;
        Ok(())
    }

    /// Opens a stored output; `None` if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, digest: Digest) -> io::Result<Option<File>> {
        missing_is_none(File::open(self.path(digest)))
    }

    /// Returns the size of a stored output; `None` if there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn size(&self, digest: Digest) -> io::Result<Option<u64>> {
        let meta = missing_is_none(fs::metadata(self.path(digest)))?;
        Ok(meta.map(|meta| meta.len()))
    }

    /// Reads a stored output and compares it with its name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn verify(&self, digest: Digest) -> io::Result<Verdict> {
        let Some(file) = self.read(digest)? else {
            return Ok(Verdict::Missing);
        };
        let (found, _) = hash(file)?;
        Ok(if found == digest {
            Verdict::Intact
        } else {
            Verdict::Damaged
        })
    }

    /// Nothing panics while this is held; what a poisoned one guards is whole all the same.
    fn pinned(&self) -> MutexGuard<'_, BTreeMap<Digest, u32>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an outcome names an output that was adopted, or that none ever will.
    pub fn unpin(&self, digest: Digest) {
        let mut pinned = self.pinned();
        if let Some(times) = pinned.get_mut(&digest) {
            *times -= 1;
            if *times == 0 {
                pinned.remove(&digest);
            }
        }
    }

    /// Removes a stored output, if it is there and not just being adopted. Who has it open reads on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        let pinned = self.pinned();
        if !pinned.contains_key(&digest) {
            missing_is_none(fs::remove_file(self.path(digest)))?;
        }
        Ok(())
    }

    /// Calls `visit` with each stored output and the bytes of disk that it takes, in no order: for
    /// the removal of what no outcome names any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn each(&self, mut visit: impl FnMut(Digest, u64)) -> io::Result<()> {
        for shelf in fs::read_dir(&self.dir)? {
            let shelf = shelf?;
            if shelf.file_name().len() != 2 {
                continue;
            }
            for entry in fs::read_dir(shelf.path())? {
                let entry = entry?;
                let digest = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok());
                if let (Some(digest), Some(meta)) = (digest, missing_is_none(entry.metadata())?) {
                    visit(digest, meta.blocks() * 512);
                }
            }
        }
        Ok(())
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    /// Gives a live file a second name, in place of what has it; a file system without such gives it
    /// that name only.
    fn place(&self, live: &Path, path: &Path) -> io::Result<()> {
        private_dir(path.parent().unwrap_or(&self.dir))?;
        let second = live.with_extension("kept");
        missing_is_none(fs::remove_file(&second))?;
        match fs::hard_link(live, &second) {
            Ok(()) => fs::rename(second, path),
            Err(_unsupported) => fs::rename(live, path),
        }
    }
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn hash(mut file: File) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    // Most outputs are short: no more memory than they need.
    let step = usize::try_from(file.metadata()?.len())
        .unwrap_or(STEP)
        .clamp(512, STEP);
    let mut buffer = vec![0; step];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Digest(*hasher.finalize().as_bytes()), hasher.count())),
            Ok(bytes) => hasher.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn store() -> (tempfile::TempDir, Outputs) {
        let temp = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(&temp.path().join("outputs"), None).unwrap();
        (temp, outputs)
    }

    fn adopt(outputs: &Outputs, key: u64, bytes: &[u8]) -> Adopted {
        let path = outputs.live(RunKey(key), Stream::Out);
        fs::write(&path, bytes).unwrap();
        let adopted = outputs.adopt(&path).unwrap();
        assert_eq!(outputs.adopt(&path).unwrap(), adopted, "a second time");
        outputs.release(RunKey(key)).unwrap();
        assert!(!path.exists());
        if let Adopted::Stored { digest, .. } = adopted {
            outputs.remove(digest).unwrap();
            outputs.unpin(digest);
            outputs.remove(digest).unwrap();
            assert!(
                outputs.size(digest).unwrap().is_some(),
                "no outcome names it yet"
            );
            outputs.unpin(digest);
        }
        adopted
    }

    fn digest(adopted: Adopted) -> Digest {
        match adopted {
            Adopted::Stored { digest, .. } => digest,
            Adopted::Empty => panic!("there were bytes"),
        }
    }

    #[test]
    fn stored_once_under_the_digest() {
        let (_temp, outputs) = store();
        let long = vec![7; STEP * 2 + 1];
        let adopted = adopt(&outputs, 1, &long);
        let expected = Digest(*blake3::hash(&long).as_bytes());
        assert_eq!(
            adopted,
            Adopted::Stored {
                digest: expected,
                bytes: long.len() as u64
            }
        );
        assert_eq!(adopt(&outputs, 2, &long), adopted);
        let mut all = Vec::new();
        outputs
            .each(|digest, bytes| all.push((digest, bytes)))
            .unwrap();
        assert!(matches!(all[..], [(digest, bytes)] if digest == expected && bytes > 0));
        let mut back = Vec::new();
        outputs
            .read(expected)
            .unwrap()
            .unwrap()
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, long);
        assert_eq!(expected.to_string().parse(), Ok(expected));
    }

    #[test]
    fn of_what_is_too_long_the_middle_is_cut_out() {
        let temp = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(temp.path(), Some(64 << 10)).unwrap();
        let (key, half) = (RunKey(1), 32 << 10);
        let path = outputs.live(key, Stream::Out);
        let line = |n: usize| format!("line {n:010}\n");
        let text: String = (0..50_000).map(line).collect();
        fs::write(&path, &text).unwrap();
        let freed = outputs.thin(key, Stream::Out).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.len(), text.len() as u64, "a run appends where it was");
        assert!(
            freed == 0 || meta.blocks() * 512 <= 80 << 10,
            "{}",
            meta.blocks()
        );
        let adopted = outputs.adopt(&path).unwrap();
        assert_eq!(outputs.adopt(&path).unwrap(), adopted, "a second time");
        let mut kept = String::new();
        let mut file = outputs.read(digest(adopted)).unwrap().unwrap();
        file.read_to_string(&mut kept).unwrap();
        assert!(kept.starts_with(&text[..half]) && kept.ends_with(&text[text.len() - half..]));
        let note = &kept[half..kept.len() - half];
        assert!(note.contains("of the middle are cut out"), "{note}");
        assert!(Outputs::is_cut(&outputs.stored(digest(adopted))).unwrap());
        outputs.release(key).unwrap();
        assert_eq!(fs::read_dir(temp.path().join("live")).unwrap().count(), 0);
        // What just fits is whole.
        let fits = &text[..2 * half];
        fs::write(&path, fits).unwrap();
        assert_eq!(outputs.thin(key, Stream::Out).unwrap(), 0);
        let adopted = outputs.adopt(&path).unwrap();
        assert!(matches!(adopted, Adopted::Stored { bytes, .. } if bytes == fits.len() as u64));
        assert!(!Outputs::is_cut(&outputs.stored(digest(adopted))).unwrap());
    }

    #[test]
    fn what_says_that_it_is_cut_elsewhere_than_in_its_middle_is_whole() {
        let (_temp, outputs) = store();
        let note = "\n[aque: 1 GiB were written here; 1 B of the middle are cut out]\n";
        let block = "x".repeat(4 << 10);
        for (text, cut) in [
            (String::new(), false),
            ("x".to_owned(), false),
            (format!("{block}{note}"), false),
            (format!("{note}{block}"), false),
            (format!("{block}{note}{}", &block[1..]), false),
            (format!("{block}{note}{block}"), true),
            (note.to_owned(), true),
        ] {
            let path = outputs.live(RunKey(1), Stream::Out);
            fs::write(&path, &text).unwrap();
            assert_eq!(Outputs::is_cut(&path).unwrap(), cut, "{}", text.len());
        }
    }

    #[test]
    fn empty_and_missing_have_no_file() {
        let (_temp, outputs) = store();
        assert_eq!(adopt(&outputs, 1, b""), Adopted::Empty);
        let never = outputs.live(RunKey(9), Stream::Err);
        assert_eq!(outputs.adopt(&never).unwrap(), Adopted::Empty);
        let nothing = Digest([0; 32]);
        assert!(outputs.read(nothing).unwrap().is_none());
        assert_eq!(outputs.verify(nothing).unwrap(), Verdict::Missing);
        outputs.remove(nothing).unwrap();
    }

    #[test]
    fn damage_is_seen_and_mended_by_the_next_of_its_kind() {
        let (_temp, outputs) = store();
        let digest = digest(adopt(&outputs, 1, b"hello"));
        assert_eq!(outputs.verify(digest).unwrap(), Verdict::Intact);
        fs::write(outputs.path(digest), b"hel").unwrap();
        assert_eq!(outputs.verify(digest).unwrap(), Verdict::Damaged);
        adopt(&outputs, 2, b"hello");
        assert_eq!(outputs.verify(digest).unwrap(), Verdict::Intact);
        outputs.remove(digest).unwrap();
        assert_eq!(outputs.size(digest).unwrap(), None);
    }

    #[test]
    fn leftovers_of_nobody_are_swept() {
        let (_temp, outputs) = store();
        for key in 1..=3 {
            fs::write(outputs.live(RunKey(key), Stream::Err), b"x").unwrap();
        }
        fs::write(outputs.dir.join("live/strange name"), b"x").unwrap();
        assert_eq!(outputs.sweep_live(&BTreeSet::from([RunKey(2)])).unwrap(), 3);
        assert!(outputs.live(RunKey(2), Stream::Err).exists());
        assert_eq!(outputs.sweep_live(&BTreeSet::new()).unwrap(), 1);
    }

    #[test]
    fn bad_digests_are_refused() {
        for text in [
            "",
            "ab",
            "../../etc/passwd",
            &"g".repeat(64),
            &"a".repeat(66),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
    #[test]
    fn the_last_line_of_a_run_is_its_word() {
        let temp = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(temp.path(), None).unwrap();
        let key = RunKey(7);
        let word = |text: &str| {
            fs::write(outputs.progress(key), text).unwrap();
            outputs.last_word(key, 20)
        };
        assert_eq!(outputs.last_word(key, 20), None);
        assert_eq!(word(""), None);
        assert_eq!(word("\n \n"), None);
        assert_eq!(word("0.1 a\n0.2 b\n\n").as_deref(), Some("0.2 b"));
        assert_eq!(word("é".repeat(30).as_str()).unwrap(), "é".repeat(10));
        let long = "x".repeat(5_000);
        assert_eq!(
            word(&format!("{long}\n0.9 end")).as_deref(),
            Some("0.9 end")
        );
        // Nothing but a file of its own is read.
        fs::remove_file(outputs.progress(key)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", outputs.progress(key)).unwrap();
        assert_eq!(outputs.last_word(key, 20), None);
        outputs.release(key).unwrap();
        assert!(outputs.progress(key).symlink_metadata().is_err());
    }
}
