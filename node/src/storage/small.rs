//! Small files that are replaced as a whole: identity, settings, boot nonce.
//!
//! A reader sees the old bytes or the new, also after a loss of power.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::file::sync_dir_of;

/// Largest small file in bytes; what is larger does not belong here.
const MOST_BYTES: u64 = 16 << 20;

/// Writes a file with mode 0600 and returns when it is durable.
///
/// # Errors
/// The kernel's; the file is then as it was.
pub fn write_small(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What failed is told already.
        let _removed = std::fs::remove_file(&temporary);
    }
    written?;
    sync_dir_of(path)
}

/// Reads a file; `None` if there is none.
///
/// # Errors
/// The kernel's, and `InvalidData` for a file of more than 16 MiB.
pub fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        let text = format!("{} is larger than {MOST_BYTES} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaced_as_a_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        assert_eq!(read_small(&path).unwrap(), None);
        write_small(&path, b"one").unwrap();
        write_small(&path, b"second").unwrap();
        assert_eq!(read_small(&path).unwrap().unwrap(), b"second");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        std::fs::create_dir(&path).unwrap();
        assert!(write_small(&path, b"x").is_err());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        assert!(write_small(&temp.path().join("no/key"), b"x").is_err());
    }
}
