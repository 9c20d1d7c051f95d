//! The last lines of a stream that comes in pieces.

/// What is kept at most, bytes: lines longer than that are cut at their beginning.
const MOST: usize = 64 << 20;
/// What is not needed is let go at latest after so many bytes.
const SLACK: usize = 1 << 20;

/// The last lines of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    lines: usize,
    kept: Vec<u8>,
    cut_at: usize,
}

impl Tail {
    pub(super) fn new(lines: u32) -> Self {
        Self {
            lines: usize::try_from(lines).unwrap_or(usize::MAX),
            kept: Vec::new(),
            cut_at: SLACK,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.kept.extend_from_slice(piece);
        if self.kept.len() >= self.cut_at {
            self.cut();
            self.cut_at = 2 * self.kept.len() + SLACK;
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.cut();
        self.kept
    }

    fn cut(&mut self) {
        // A last line need not end with a newline, so the very last byte starts no line.
        let body = self.kept.len().saturating_sub(1);
        let mut starts = (0..body)
            .rev()
            .filter(|at| self.kept[*at] == b'\n')
            .map(|at| at + 1);
        let start = match self.lines {
            0 => self.kept.len(),
            lines => starts.nth(lines - 1).unwrap_or(0),
        };
        let least = self.kept.len().saturating_sub(MOST);
        self.kept.drain(..start.max(least));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_table() {
        let rows: [(&str, u32, &str); 7] = [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 5, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
            ("one", 1, "one"),
        ];
        for (text, lines, want) in rows {
            let mut tail = Tail::new(lines);
            for byte in text.as_bytes() {
                tail.push(&[*byte]);
            }
            assert_eq!(
                String::from_utf8_lossy(&tail.finish()),
                want,
                "{text:?} {lines}"
            );
        }
    }

    #[test]
    fn no_more_is_kept_than_the_lines() {
        let mut tail = Tail::new(3);
        for n in 0..300_000 {
            tail.push(format!("line {n}\n").as_bytes());
            assert!(tail.kept.len() <= SLACK + 100);
        }
        assert_eq!(tail.finish(), b"line 299997\nline 299998\nline 299999\n");
    }
}
