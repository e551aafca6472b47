//! Line plots as SVG, drawn by plotters. It writes the colours of the light theme into each
//! element; `style.css` replaces them, so that one drawing fits both themes.

use std::io;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::axis::{Scale, short};

/// Why a plot cannot be drawn.
pub(super) type DrawError = DrawingAreaErrorKind<io::Error>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Units per pixel of the page: plotters has integer coordinates.
const UNITS: u32 = 3;

/// The size of a drawing, in units.
const SIZE: (u32, u32) = (720 * UNITS, 300 * UNITS);

/// Maximum number of distinguishable points of a line.
const MAX_POINTS: usize = 600;

/// The colours of lines; `style.css` selects them by value.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x25, 0x63, 0xEB),
    RGBColor(0xD9, 0x48, 0x0F),
    RGBColor(0x0F, 0x9D, 0x76),
    RGBColor(0x93, 0x33, 0xEA),
    RGBColor(0xB7, 0x86, 0x0B),
    RGBColor(0xD6, 0x33, 0x6C),
];

/// The colours of background, grid, labels and text; selected in the same way.
const GROUND: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const EDGE: RGBColor = RGBColor(0xDD, 0xE2, 0xEA);
const SOFT: RGBColor = RGBColor(0x64, 0x70, 0x84);
const TEXT: RGBColor = RGBColor(0x1C, 0x24, 0x30);

/// Lines over one pair of axes.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// Its title.
    pub(super) title: String,
    /// The label of the horizontal axis, with its unit.
    pub(super) x: &'static str,
    /// The label of the vertical axis, with its unit.
    pub(super) y: &'static str,
    /// The scale of the vertical axis.
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) name: String,
    /// The index of its colour.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

impl Plot {
    /// Whether no line has two points.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.points.len() < 2)
    }

    /// Renders the plot with title and legend for the page.
    ///
    /// # Errors
    /// When plotters fails.
    pub(super) fn figure(&self) -> Result<Markup, DrawError> {
        Ok(html! {
            figure {
                figcaption { (self.title) }
                (self.svg(None)?)
                ul.legend {
                    @for line in &self.lines {
                        li class={ "c" (line.colour % COLOURS.len()) } { (line.name) }
                    }
                }
            }
        })
    }

    /// Renders the plot as a file that contains its style and legend.
    ///
    /// # Errors
    /// When plotters fails.
    pub(super) fn file(&self, style: &str) -> Result<String, DrawError> {
        Ok(self.svg(Some(style))?.into_string())
    }

    fn svg(&self, style: Option<&str>) -> Result<Markup, DrawError> {
        let mut drawing = String::new();
        let area = SVGBackend::with_string(&mut drawing, SIZE).into_drawing_area();
        let is_file = style.is_some();
        if is_file {
            area.fill(&GROUND)?;
        }
        let bottom = Scale::Linear.range(self.points().map(|point| point.0));
        let side = self.scale.range(self.points().map(|point| point.1));
        let ranges = (bottom, side.clone());
        match self.scale {
            Scale::Linear => self.draw(&area, ranges, side, is_file)?,
            Scale::Logarithmic => self.draw(&area, ranges, side.log_scale(), is_file)?,
        }
        area.present()?;
        drop(area);
        Ok(html! {
            svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(self.title)
                viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } {
                @if let Some(style) = style { style { (PreEscaped(style)) } }
                (PreEscaped(drawing))
            }
        })
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    /// Draws axes and lines. `side` is the second range with its scale applied.
    fn draw<Side>(
        &self,
        area: &Area,
        ranges: (Range<f64>, Range<f64>),
        side: Side,
        with_legend: bool,
    ) -> Result<(), DrawError>
    where
        Side: AsRangedCoord<Value = f64>,
        Side::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(12 * UNITS)
            .x_label_area_size(36 * UNITS)
            .y_label_area_size(58 * UNITS)
            .build_cartesian_2d(ranges.0.clone(), side)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .x_labels(10)
            .y_labels(6)
            .bold_line_style(EDGE.stroke_width(UNITS))
            .axis_style(EDGE.stroke_width(UNITS))
            .set_all_tick_mark_size(4 * UNITS)
            .label_style(font(SOFT))
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for line in &self.lines {
            let style = COLOURS[line.colour % COLOURS.len()].stroke_width(2 * UNITS);
            for stroke in line.strokes(self.scale, &ranges) {
                chart.draw_series(LineSeries::new(stroke, style))?;
            }
            let dash = 18 * UNITS.cast_signed();
            chart
                .draw_series(LineSeries::new([], style))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + dash, y)], style));
        }
        if with_legend {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .legend_area_size(24 * UNITS)
                .label_font(font(TEXT))
                .draw()?;
        }
        Ok(())
    }
}

impl Line {
    /// The segments of the line; points that cannot be drawn leave gaps. Clamps values to
    /// the ranges, since plotters overflows outside them.
    fn strokes(&self, scale: Scale, ranges: &(Range<f64>, Range<f64>)) -> Vec<Vec<(f64, f64)>> {
        let points = thinned(&self.points);
        let within = |range: &Range<f64>, value: f64| value.clamp(range.start, range.end);
        let scaled = |(at, value): &(f64, f64)| (within(&ranges.0, *at), within(&ranges.1, *value));
        points
            .split(|(at, value)| !(Scale::Linear.draws(*at) && scale.draws(*value)))
            .filter(|stroke| stroke.len() > 1)
            .map(|stroke| stroke.iter().map(scaled).collect())
            .collect()
    }
}

/// A font of 12 pixels on the page; plotters divides sizes by 1.24.
fn font(colour: RGBColor) -> TextStyle<'static> {
    let size = 12.0 * 1.24 * f64::from(UNITS);
    ("sans-serif", size).into_font().color(&colour)
}

/// Reduces the points of a line: keeps the maximum of each group that is too close to
/// distinguish, because peaks matter.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(MAX_POINTS).max(1);
    let highest = |points: &[(f64, f64)]| {
        let highest = points.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        highest.copied()
    };
    points.chunks(together).filter_map(highest).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    fn plot(scale: Scale, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "a <title>".to_owned(),
            x: "s",
            y: "ms",
            scale,
            lines: vec![Line {
                name: "one & other".to_owned(),
                colour: 7,
                points,
            }],
        }
    }

    fn figure(scale: Scale, points: Vec<(f64, f64)>) -> String {
        plot(scale, points).figure().unwrap().into_string()
    }

    #[test]
    fn text_is_escaped_and_colours_repeat() {
        let figure = figure(Scale::Logarithmic, vec![(0.0, 1.0), (1.0, 10.0)]);
        assert!(figure.contains("a &lt;title&gt;") && figure.contains("one &amp; other"));
        assert!(figure.contains("stroke=\"#D9480F\""), "{figure}");
        assert!(figure.contains("<li class=\"c1\">"), "{figure}");
    }

    #[test]
    fn a_point_that_cannot_be_drawn_leaves_a_gap() {
        let points = [1.0, 2.0, 0.0, f64::NAN, 10.0, 20.0, 30.0];
        let points = (0..7).map(f64::from).zip(points).collect();
        let line = &plot(Scale::Logarithmic, points).lines[0];
        let strokes = line.strokes(Scale::Logarithmic, &(0.0..6.0, 1.0..100.0));
        let lengths: Vec<_> = strokes.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 3]);
    }

    #[test]
    fn extreme_values_give_a_readable_plot() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for values in [
                &[][..],
                &[0.0, 0.0],
                &[f64::NAN, f64::INFINITY],
                &[1e300, 1e-300],
                &[-5.0, f64::MIN_POSITIVE],
            ] {
                let points = values.iter().map(|value| (*value, *value)).collect();
                let figure = figure(scale, points);
                let labels = figure.matches("<text").count();
                assert!((4..=30).contains(&labels), "{values:?}: {figure}");
                assert!(!figure.contains("NaN"), "{values:?}: {figure}");
            }
        }
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let mut points: Vec<_> = (0..50_000_u32).map(|at| (f64::from(at), 1.0)).collect();
        points[12_345].1 = 99.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= MAX_POINTS);
        assert!(thinned.contains(&(12_345.0, 99.0)));
    }

    #[test]
    fn a_file_has_its_style_and_its_legend() {
        let plot = plot(Scale::Linear, vec![(0.0, 1.0), (1.0, 10.0)]);
        let file = plot.file("path { fill: none }").unwrap();
        assert!(file.starts_with("<svg") && file.contains("path { fill: none }"));
        assert!(file.contains("one &amp; other"));
    }

    #[test]
    fn the_style_sheet_contains_every_colour() {
        let style = include_str!("style.css");
        for RGBColor(red, green, blue) in COLOURS.into_iter().chain([GROUND, EDGE, SOFT, TEXT]) {
            let colour = format!("\"#{red:02X}{green:02X}{blue:02X}\"");
            assert!(style.contains(&colour), "{colour}");
        }
    }
}
