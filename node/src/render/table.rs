//! Tables without lines: a header, columns as wide as they need, the last one cut where the terminal ends. Where there is no room
//! for the others, those that can be done without are left out, and what is too wide even so is cut.

use anstyle::Style;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

use super::text::{cut, painted, width as width_of};

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Renders rows below a header. With a width, rows are one line each, and the last column gives way first.
///
/// # Panics
/// Never for rows as long as the header.
#[must_use]
pub fn table(header: &[(&str, Align)], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    table_without(&[], header, rows, width)
}

/// Renders rows as [`table`] does; where they are too wide, without columns that are `spare`, the first of these first.
///
/// # Panics
/// Never for rows as long as the header.
#[must_use]
pub fn table_without(
    spare: &[&str],
    header: &[(&str, Align)],
    mut rows: Vec<Vec<String>>,
    width: Option<u16>,
) -> String {
    let mut header = header.to_vec();
    let mut spare = spare.iter();
    while let Some(most) = width.filter(|width| is_crowded(&header, &rows, *width)) {
        let Some(name) = spare.next() else {
            return rendered(&header, rows, None)
                .lines()
                .map(|line| format!("{}\n", cut(line, most.into())))
                .collect();
        };
        if let Some(place) = header.iter().position(|(own, _)| own == name) {
            header.remove(place);
            rows.iter_mut().for_each(|row| drop(row.remove(place)));
        }
    }
    rendered(&header, rows, width)
}

/// Says whether less than a third of the terminal is left for the last column.
fn is_crowded(header: &[(&str, Align)], rows: &[Vec<String>], width: u16) -> bool {
    let Some((_, fixed)) = header.split_last() else {
        return false;
    };
    let column = |(place, (name, _)): (usize, &(&str, Align))| {
        let cells = rows.iter().map(|row| width_of(&row[place]));
        cells.max().unwrap_or(0).max(name.len()) + 2
    };
    let needed: usize = fixed.iter().enumerate().map(column).sum();
    needed > usize::from(width - width / 3)
}

fn rendered(header: &[(&str, Align)], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_truncation_indicator("…");
    let bold = Style::new().bold();
    let one_line = |mut row: Row| {
        if width.is_some() {
            row.max_height(1);
        }
        row
    };
    let names = header.iter().map(|(name, _)| painted(bold, name));
    table.set_header(one_line(Row::from(
        names.map(Cell::new).collect::<Vec<_>>(),
    )));
    let last = header.len().saturating_sub(1);
    for row in rows {
        table.add_row(one_line(Row::from(row)));
    }
    for (index, (_, align)) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, if index == last { 0 } else { 2 }));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
    }
    match width {
        None => table.set_content_arrangement(ContentArrangement::Disabled),
        Some(width) => {
            fit(&mut table);
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width)
        }
    };
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Keeps every column but the last at its full width.
fn fit(table: &mut Table) {
    let widths = table.column_max_content_widths();
    let Some((_, fixed)) = widths.split_last() else {
        return;
    };
    for (index, own) in fixed.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(own + 2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        vec![
            vec![
                "k3v7qa-1".into(),
                "7".into(),
                "make -j4 all and many more words than fit".into(),
            ],
            vec![
                "k3v7qa-22".into(),
                "1234".into(),
                painted(Style::new().bold(), "true"),
            ],
        ]
    }

    const HEADER: [(&str, Align); 3] = [
        ("ID", Align::Left),
        ("N", Align::Right),
        ("COMMAND", Align::Left),
    ];

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn nothing_is_cut_without_a_terminal() {
        let text = plain(&table(&HEADER, rows(), None));
        assert_eq!(
            text,
            "ID            N  COMMAND\n\
             k3v7qa-1      7  make -j4 all and many more words than fit\n\
             k3v7qa-22  1234  true\n"
        );
    }

    #[test]
    fn the_last_column_gives_way() {
        let text = plain(&table(&HEADER, rows(), Some(40)));
        assert_eq!(
            text,
            "ID            N  COMMAND\n\
             k3v7qa-1      7  make -j4 all and many…\n\
             k3v7qa-22  1234  true\n"
        );
    }

    #[test]
    fn narrow_terminals_see_less() {
        let without = |width| plain(&table_without(&["N"], &HEADER, rows(), Some(width)));
        assert_eq!(
            without(24),
            "ID         COMMAND\n\
             k3v7qa-1   make -j4 all…\n\
             k3v7qa-22  true\n"
        );
        assert_eq!(
            without(14),
            "ID         CO…\nk3v7qa-1   ma…\nk3v7qa-22  tr…\n"
        );
        for width in 1..60 {
            let text = without(width);
            let widest = text.lines().map(width_of).max().unwrap_or(0);
            assert!(
                widest <= width.into() && text.lines().count() == 3,
                "{width}: {text}"
            );
        }
    }

    #[test]
    fn colours_do_not_count() {
        assert!(table(&HEADER, rows(), Some(60)).contains("\u{1b}[1mtrue\u{1b}[0m"));
    }
}
