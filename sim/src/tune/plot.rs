//! Pictures of sweeps, as SVG.

use plotters::prelude::*;

use super::{Side, Sweep};

const SIZE: (u32, u32) = (760, 420);
/// A curve's colours, which also differ in brightness.
const COLOURS: [RGBColor; 3] = [
    RGBColor(0x1f, 0x4e, 0x9c),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x7f, 0x7f, 0x7f),
];
const UNSAFE: RGBColor = RGBColor(0xc6, 0x28, 0x28);

/// Draws a sweep; where there is a line, its unsafe side is shaded.
///
/// # Errors
/// What the drawing library says; none is expected of a picture in memory.
pub fn draw(sweep: &Sweep) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let values = || sweep.points.iter().flat_map(|(_, values)| values);
        let left = sweep.points.first().map_or(0.0, |(at, _)| *at);
        let right = sweep.points.last().map_or(1.0, |(at, _)| *at);
        let top = values().copied().fold(1.0, f64::max) * 1.05;
        let mut chart = ChartBuilder::on(&area)
            .caption(sweep.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(left..right, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc(sweep.across)
            .y_desc(sweep.up)
            .draw()?;
        if let Some(line) = sweep.line {
            let (from, to) = match line.safe {
                Side::Right => (left, line.at),
                Side::Left => (line.at, right),
            };
            let shade = Rectangle::new([(from, 0.0), (to, top)], UNSAFE.mix(0.08).filled());
            chart
                .draw_series([shade])?
                .label("refused, or out of bounds")
                .legend(|(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 18, y + 5)], UNSAFE.mix(0.2).filled())
                });
        }
        for (place, name) in sweep.curves.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let points = sweep.points.iter().map(|(at, values)| (*at, values[place]));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(name.as_str())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
