//! Tables without lines: a header, columns as wide as they need, the last one cut where the terminal ends.

use anstyle::Style;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

use super::text::painted;

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
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_truncation_indicator("…");
    let bold = Style::new().bold();
    table.set_header(
        header
            .iter()
            .map(|(name, _)| Cell::new(painted(bold, name))),
    );
    let last = header.len().saturating_sub(1);
    for row in rows {
        let mut line = Row::from(row);
        if width.is_some() {
            line.max_height(1);
        }
        table.add_row(line);
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
            fit(&mut table, width);
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

/// Keeps every column but the last at its full width, as long as a third of the terminal is left for the last.
fn fit(table: &mut Table, width: u16) {
    let widths = table.column_max_content_widths();
    let Some((_, fixed)) = widths.split_last() else {
        return;
    };
    let needed: u16 = fixed.iter().map(|width| width + 2).sum();
    if needed > width - width / 3 {
        return;
    }
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
    fn colours_do_not_count() {
        assert!(table(&HEADER, rows(), Some(60)).contains("\u{1b}[1mtrue\u{1b}[0m"));
    }
}
