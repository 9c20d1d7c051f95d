//! Which line of a screen is for what. On a small screen the list matters most; all else gives way, one after the other.

/// Lines of a screen, from 0; what has no line is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Who is asked, and what is looked at.
    pub(crate) title: Option<u16>,
    /// How many tasks are in which state.
    pub(crate) counts: Option<u16>,
    /// What else could be looked at.
    pub(crate) tabs: Option<u16>,
    /// The names of the columns.
    pub(crate) header: Option<u16>,
    /// The first line of the list.
    pub(crate) body: u16,
    /// How many the list has.
    pub(crate) height: u16,
    /// Keys, questions, words.
    pub(crate) bar: Option<u16>,
}

impl Layout {
    /// Returns the layout of a screen with so many lines.
    pub(crate) fn of(lines: u16) -> Self {
        let mut next = 0;
        let mut take = |from: u16| {
            let line = (lines >= from).then_some(next);
            next += u16::from(line.is_some());
            line
        };
        let (title, counts, tabs, header) = (take(3), take(12), take(9), take(7));
        let bar = (lines >= 2).then(|| lines - 1);
        Self {
            title,
            counts,
            tabs,
            header,
            body: next,
            height: lines - next - u16::from(bar.is_some()),
            bar,
        }
    }

    /// Returns the same for what is no table: the list takes all but title and bar.
    pub(crate) fn plain(lines: u16) -> Self {
        let Self { title, bar, .. } = Self::of(lines);
        let body = u16::from(title.is_some());
        Self {
            title,
            bar,
            body,
            height: lines - body - u16::from(bar.is_some()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_matters_most() {
        for (lines, body, height) in [
            (0, 0, 0),
            (1, 0, 1),
            (2, 0, 1),
            (3, 1, 1),
            (5, 1, 3),
            (7, 2, 4),
            (9, 3, 5),
            (12, 4, 7),
            (24, 4, 19),
        ] {
            let layout = Layout::of(lines);
            assert_eq!((layout.body, layout.height), (body, height), "{lines}");
            let plain = Layout::plain(lines);
            assert!(plain.height >= height, "{lines}");
        }
    }
}
