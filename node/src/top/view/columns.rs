//! Tables on a screen: as many columns as fit, the least important ones left out first, and the last one takes what is left.

use ratatui::buffer::Buffer;
use ratatui::style::{Modifier, Style};

/// What a cell says, and how it looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) side: Side,
    /// Of those that do not fit, the one with the least weight is left out first.
    pub(super) weight: u8,
}

/// To which side a column's cells lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Between two columns.
const GAP: usize = 2;
/// The last column is shown where it has as much room as its cells want, or this.
const LAST: usize = 12;
/// So many columns stay, whatever the width.
const LEAST: usize = 2;

/// Chooses columns: each with its width, by its place. What is left is the last one's.
pub(super) fn fit(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> Vec<(usize, usize)> {
    let wanted = |place: usize| {
        let cells = rows.iter().map(|row| wide(&row[place].text));
        let natural = cells.max().unwrap_or(0).max(columns[place].name.len());
        let is_last = place + 1 == columns.len();
        (place, if is_last { natural.min(LAST) } else { natural })
    };
    let mut chosen: Vec<(usize, usize)> = (0..columns.len()).map(wanted).collect();
    let taken = |chosen: &[(usize, usize)]| -> usize {
        let widths = chosen.iter().map(|(_, width)| width + GAP);
        widths.sum::<usize>().saturating_sub(GAP)
    };
    while chosen.len() > LEAST && taken(&chosen) > width {
        let weight = |(place, _): &(usize, usize)| columns[*place].weight;
        let least = chosen.iter().enumerate().min_by_key(|(_, one)| weight(one));
        let Some((found, _)) = least else { break };
        chosen.remove(found);
    }
    let rest = width.saturating_sub(taken(&chosen));
    if let Some((place, own)) = chosen.last_mut()
        && *place + 1 == columns.len()
    {
        *own += rest;
    }
    chosen
}

/// The width of a text on a terminal, columns.
pub(super) fn wide(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

/// Draws a row of cells on a line.
pub(super) fn draw(
    buffer: &mut Buffer,
    line: u16,
    row: &[Cell],
    columns: &[Column],
    chosen: &[(usize, usize)],
) {
    let end = usize::from(buffer.area.right());
    let mut x = 0;
    for (place, width) in chosen {
        let room = (*width).min(end.saturating_sub(x));
        if room == 0 {
            return;
        }
        let cell = &row[*place];
        let lean = match columns[*place].side {
            Side::Left => 0,
            Side::Right => width.saturating_sub(wide(&cell.text)).min(room),
        };
        put(buffer, x + lean, line, &cell.text, room - lean, cell.style);
        x += width + GAP;
    }
}

/// Draws the names of columns on a line.
pub(super) fn header(
    buffer: &mut Buffer,
    line: u16,
    columns: &[Column],
    chosen: &[(usize, usize)],
) {
    let name = |column: &Column| Cell {
        text: column.name.to_owned(),
        style: Style::new().add_modifier(Modifier::BOLD),
    };
    let names: Vec<Cell> = columns.iter().map(name).collect();
    draw(buffer, line, &names, columns, chosen);
}

/// Writes text, as much as fits; a text that is cut ends with `…`. Returns the column behind it.
pub(super) fn put(
    buffer: &mut Buffer,
    x: usize,
    y: u16,
    text: &str,
    room: usize,
    style: Style,
) -> usize {
    let area = buffer.area;
    let room = room.min(usize::from(area.right()).saturating_sub(x));
    let Ok(left) = u16::try_from(x) else { return x };
    if room == 0 || y >= area.bottom() {
        return x;
    }
    let (end, _) = match wide(text) > room {
        false => buffer.set_stringn(left, y, text, room, style),
        true => buffer.set_stringn(left, y, cut(text, room), room, style),
    };
    end.into()
}

/// The beginning of a text that is too long.
fn cut(text: &str, room: usize) -> String {
    let mut left = room.saturating_sub(1);
    let fits = |c: &char| {
        let own = wide(c.encode_utf8(&mut [0; 4]));
        let fits = own <= left;
        left = left.saturating_sub(own);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_table() {
        for (text, room, short) in [
            ("abcdef", 4, "abc…"),
            ("写真写真", 4, "写…"),
            ("写真写真", 5, "写真…"),
            ("ab", 1, "…"),
        ] {
            assert_eq!(cut(text, room), short);
        }
    }

    #[test]
    fn the_lightest_columns_go_first() {
        let column = |name, weight| Column {
            name,
            side: Side::Left,
            weight,
        };
        let columns = [column("AAAA", 9), column("BBBB", 1), column("CCCC", 5)];
        let row = vec![
            Cell::plain("a"),
            Cell::plain("bbbbbb"),
            Cell::plain("c".repeat(50)),
        ];
        let fitted = |width| fit(&columns, std::slice::from_ref(&row), width);
        assert_eq!(fitted(40), [(0, 4), (1, 6), (2, 26)]);
        assert_eq!(fitted(26), [(0, 4), (1, 6), (2, 12)]);
        assert_eq!(fitted(25), [(0, 4), (2, 19)]);
        assert_eq!(fitted(3), [(0, 4), (2, 12)]);
    }
}
