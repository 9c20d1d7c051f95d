//! The figures: a table for people on standard output, the same as JSON for machines.

use serde::Serialize;

/// One measure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    measure: String,
    /// The figure.
    value: f64,
    /// Of what.
    unit: &'static str,
    /// As a share of the floor, where that makes sense.
    of_floor: Option<f64>,
    /// What the first step must reach.
    first: &'static str,
    /// Where it is to go.
    goal: &'static str,
}

/// All measures of one run.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    floor: Option<f64>,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goals {
    /// What the first step must reach.
    pub(crate) first: &'static str,
    /// Where it is to go.
    pub(crate) goal: &'static str,
}

impl Table {
    /// Sets the floor: processes a second.
    pub(crate) fn set_floor(&mut self, rate: f64) {
        self.floor = Some(rate);
        self.add(
            "floor: /bin/true, 2 slots",
            rate,
            "processes/s",
            Goals {
                first: "",
                goal: "",
            },
        );
    }

    /// Adds a rate, which is shown as a share of the floor too.
    pub(crate) fn add_rate(&mut self, measure: &str, rate: f64, goals: Goals) {
        self.add(measure, rate, "tasks/s", goals);
        if let (Some(row), Some(floor)) = (self.rows.last_mut(), self.floor) {
            row.of_floor = Some(rate / floor);
        }
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, measure: &str, value: f64, unit: &'static str, goals: Goals) {
        let Goals { first, goal } = goals;
        eprintln!("bench:   {measure}: {} {unit}", number(value));
        self.rows.push(Row {
            measure: measure.to_owned(),
            value,
            unit,
            of_floor: None,
            first,
            goal,
        });
    }

    /// Returns the table as text.
    pub(crate) fn text(&self) -> String {
        let header = ["MEASURE", "VALUE", "UNIT", "OF FLOOR", "FIRST", "GOAL"].map(str::to_owned);
        let lines = self.rows.iter().map(|row| {
            let share = row
                .of_floor
                .map(|share| format!("{share:.2}"))
                .unwrap_or_default();
            let (measure, unit) = (row.measure.clone(), row.unit.to_owned());
            [
                measure,
                number(row.value),
                unit,
                share,
                row.first.to_owned(),
                row.goal.to_owned(),
            ]
        });
        let lines: Vec<[String; 6]> = std::iter::once(header).chain(lines).collect();
        let width = |column: usize| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let [measure, value, unit, share, first, goal] = line;
            let row = format!(
                "{measure:a$}  {value:>b$}  {unit:c$}  {share:>d$}  {first:e$}  {goal}",
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3],
                e = widths[4]
            );
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns the table as JSON.
    pub(crate) fn json(&self) -> String {
        // Strings and finite numbers always have a form in JSON.
        serde_json::to_string_pretty(&self.rows).unwrap_or_default() + "\n"
    }
}

/// Three digits that count, no more.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
