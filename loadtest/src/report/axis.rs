//! Ranges and labels of axes.

use std::ops::Range;

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0, in even steps.
    Linear,
    /// In powers of ten, for positive values.
    Logarithmic,
}

impl Scale {
    /// Whether an axis can show a value.
    pub(super) fn draws(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }

    /// The range of an axis for these values, ignoring those that it cannot show: from 0,
    /// or between powers of ten. It spans at most 15 powers of ten.
    pub(super) fn range(self, values: impl Iterator<Item = f64>) -> Range<f64> {
        let drawn = values.filter(|value| self.draws(*value));
        let (least, most) = drawn.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        match self {
            _ if most <= 0.0 => self.range([1.0].into_iter()),
            Self::Linear => 0.0..most.clamp(1e-9, 1e15),
            Self::Logarithmic => {
                let first = least.log10().floor().clamp(-9.0, 12.0);
                let last = most.log10().ceil().clamp(first + 1.0, first + 15.0);
                // A small margin keeps the powers at both ends inside despite rounding.
                10_f64.powf(first - 1e-4)..10_f64.powf(last + 1e-4)
            }
        }
    }
}

/// Formats a value briefly: `0.5`, `20`, `15k`, `1.5M`.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_contains_every_value_that_it_draws() {
        let linear = Scale::Linear.range([3.0, f64::NAN, 87.0].into_iter());
        assert_eq!(linear, 0.0..87.0);
        let logarithmic = Scale::Logarithmic.range([0.3, 0.0, 40.0].into_iter());
        assert!((0.09..0.1).contains(&logarithmic.start), "{logarithmic:?}");
        assert!((100.0..101.0).contains(&logarithmic.end), "{logarithmic:?}");
    }

    #[test]
    fn values_are_written_short() {
        let written = [0.0, 0.5, 0.0001, 3.0, 19_000.0, 1_500_000.0, 250.4].map(short);
        assert_eq!(written, ["0", "0.5", "0.0001", "3", "19k", "1.5M", "250"]);
    }
}
