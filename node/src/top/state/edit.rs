//! A line that a person types.

use super::Key;
use crate::render::text::steers;

/// The longest line, characters: as much as a filter may have.
const MOST: usize = 1_000;

/// A line of text with a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    before: Vec<char>,
    after: Vec<char>,
}

impl Edit {
    /// Returns a line to go on with, the cursor at its end.
    pub(crate) fn of(text: &str) -> Self {
        let mut edit = Self::default();
        edit.insert(text);
        edit
    }

    /// Returns what is typed.
    pub(crate) fn text(&self) -> String {
        self.before.iter().chain(self.after.iter().rev()).collect()
    }

    /// Returns what stands before the cursor.
    pub(crate) fn before(&self) -> String {
        self.before.iter().collect()
    }

    /// Puts text in at the cursor; what is no character on a line is left out.
    pub(crate) fn insert(&mut self, text: &str) {
        let room = MOST.saturating_sub(self.before.len() + self.after.len());
        let typed = text.chars().filter(|c| !steers(*c));
        self.before.extend(typed.take(room));
    }

    /// Takes a key that means something on a line.
    pub(crate) fn take(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Backspace => drop(self.before.pop()),
            Key::Delete => drop(self.after.pop()),
            Key::Left => self.after.extend(self.before.pop()),
            Key::Right => self.before.extend(self.after.pop()),
            Key::Home => self.after.extend(self.before.drain(..).rev()),
            Key::End => self.before.extend(self.after.drain(..).rev()),
            Key::Ctrl('u') => self.before.clear(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_table() {
        let rows: [(&[Key], &str, &str); 6] = [
            (&[Key::Char('x')], "abcx", "abcx"),
            (&[Key::Left, Key::Char('x')], "abxc", "abx"),
            (&[Key::Home, Key::Delete, Key::Right], "bc", "b"),
            (
                &[Key::Home, Key::Right, Key::End, Key::Backspace],
                "ab",
                "ab",
            ),
            (&[Key::Left, Key::Ctrl('u')], "c", ""),
            (&[Key::Home, Key::Left, Key::Backspace, Key::Up], "abc", ""),
        ];
        for (keys, text, before) in rows {
            let mut edit = Edit::of("a\u{1b}b\nc");
            keys.iter().for_each(|key| edit.take(*key));
            assert_eq!(
                (edit.text().as_str(), edit.before().as_str()),
                (text, before)
            );
        }
        let mut long = Edit::of(&"x".repeat(2 * MOST));
        long.take(Key::Char('y'));
        assert_eq!(long.text().len(), MOST);
    }
}
