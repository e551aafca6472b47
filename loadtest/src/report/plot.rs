//! Line plots as SVG. Colours come from the style sheet, so that one plot fits
//! a light page and a dark one.

use maud::{Markup, PreEscaped, html};

use super::axis::{Axis, Scale, short};

/// The size of the drawing, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;

/// What is left free for the writing around it.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// Points of a line that can be told apart.
const MOST_POINTS: usize = 600;

/// How many colours the style sheet has.
pub(super) const COLOURS: usize = 6;

/// Lines over one pair of axes.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: String,
    /// What is along the bottom, with its unit.
    pub(super) x: &'static str,
    /// What is along the side, with its unit.
    pub(super) y: &'static str,
    /// How the side is laid out.
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What stands in the legend.
    pub(super) name: String,
    /// Which colour, counted from 0.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

impl Plot {
    /// Whether there is something to see.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.points.len() < 2)
    }

    /// The plot with its title and its legend.
    pub(super) fn figure(&self) -> Markup {
        html! {
            figure {
                figcaption { (self.title) }
                (self.svg(None))
                ul.legend {
                    @for line in &self.lines {
                        li class={ "c" (line.colour % COLOURS) } { (line.name) }
                    }
                }
            }
        }
    }

    /// The plot as a file of its own, which takes its style with it.
    pub(super) fn file(&self, style: &str) -> String {
        self.svg(Some(style)).into_string()
    }

    fn svg(&self, style: Option<&str>) -> Markup {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::of(Scale::Linear, points().map(|point| point.0));
        let y = Axis::of(self.scale, points().map(|point| point.1));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(self.title)
                viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
                @if let Some(style) = style {
                    style { (PreEscaped(style)) }
                    rect.ground width=(WIDTH) height=(HEIGHT) {}
                    (self.legend())
                }
                (self.grid(&x, &y))
                @for line in &self.lines {
                    path class={ "line c" (line.colour % COLOURS) } d=(path(line, &x, &y)) {}
                }
            }
        }
    }

    fn grid(&self, x: &Axis, y: &Axis) -> Markup {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        html! {
            g.grid {
                @for mark in &y.marks {
                    @let at = vertical(y.place(*mark).unwrap_or_default());
                    line x1=(LEFT) x2=(right) y1=(at) y2=(at) {}
                    text x=(LEFT - 7.0) y=(at) text-anchor="end" dy="0.32em" { (short(*mark)) }
                }
                @for mark in &x.marks {
                    @let at = horizontal(x.place(*mark).unwrap_or_default());
                    line x1=(at) x2=(at) y1=(bottom) y2=(bottom + 4.0) {}
                    text x=(at) y=(bottom + 17.0) text-anchor="middle" { (short(*mark)) }
                }
                text.unit x=(right) y=(HEIGHT - 6.0) text-anchor="end" { (self.x) }
                text.unit transform={ "translate(13 " (TOP) ") rotate(-90)" } text-anchor="end" {
                    (self.y)
                }
            }
        }
    }

    /// Inside the drawing, for a file that has no page around it.
    fn legend(&self) -> Markup {
        html! {
            @for (row, line) in (0_u8..).map(f64::from).zip(&self.lines) {
                @let at = TOP + 10.0 + 16.0 * row;
                path class={ "line c" (line.colour % COLOURS) }
                    d={ "M" (LEFT + 12.0) " " (at) "h18" } {}
                text.name x=(LEFT + 36.0) y=(at) dy="0.32em" { (line.name) }
            }
        }
    }
}

fn horizontal(place: f64) -> f64 {
    rounded(LEFT + place * (WIDTH - LEFT - RIGHT))
}

fn vertical(place: f64) -> f64 {
    rounded(HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM))
}

/// Two digits are more than a screen shows.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The line as SVG draws it; a point that cannot be drawn leaves a gap.
fn path(line: &Line, x: &Axis, y: &Axis) -> String {
    let mut path = String::new();
    let mut is_down = false;
    for (at, value) in thinned(&line.points) {
        let (Some(right), Some(up)) = (x.place(at), y.place(value)) else {
            is_down = false;
            continue;
        };
        let command = if is_down { 'L' } else { 'M' };
        path += &format!("{command}{} {}", horizontal(right), vertical(up));
        is_down = true;
    }
    path
}

/// Of neighbours that cannot be told apart, the highest: peaks are what one
/// looks for.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(MOST_POINTS).max(1);
    let highest = |points: &[(f64, f64)]| {
        let highest = points.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        highest.copied()
    };
    points.chunks(together).filter_map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "a <title>".to_owned(),
            x: "s",
            y: "ms",
            scale: Scale::Logarithmic,
            lines: vec![Line {
                name: "one & other".to_owned(),
                colour: 7,
                points,
            }],
        }
    }

    #[test]
    fn text_is_escaped_and_colours_come_round() {
        let figure = plot(vec![(0.0, 1.0), (1.0, 10.0)]).figure().into_string();
        assert!(figure.contains("a &lt;title&gt;") && figure.contains("one &amp; other"));
        assert!(figure.contains(r#"class="line c1""#));
    }

    #[test]
    fn a_point_that_cannot_be_drawn_leaves_a_gap() {
        let points = vec![(0.0, 1.0), (1.0, 0.0), (2.0, f64::NAN), (3.0, 10.0)];
        let figure = plot(points).figure().into_string();
        let (_, path) = figure.split_once(" d=\"").unwrap_or_default();
        let (path, _) = path.split_once('"').unwrap_or_default();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 0, "{path}");
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let mut points: Vec<_> = (0..50_000_u32).map(|at| (f64::from(at), 1.0)).collect();
        points[12_345].1 = 99.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.contains(&(12_345.0, 99.0)));
    }

    #[test]
    fn a_file_has_its_style_and_its_legend() {
        let file = plot(vec![(0.0, 1.0), (1.0, 10.0)]).file(".line { fill: none }");
        assert!(file.starts_with("<svg") && file.contains(".line { fill: none }"));
        assert!(file.contains("one &amp; other"));
    }
}
