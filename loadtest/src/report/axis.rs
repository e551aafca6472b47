//! Where the marks of an axis are, and what stands beside them.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0, in even steps.
    Linear,
    /// In powers of ten, for values over 0.
    Logarithmic,
}

/// An axis that all its values fit on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    /// The values that are marked.
    pub(super) marks: Vec<f64>,
}

impl Axis {
    /// For these values. Those that are no numbers, or that a logarithm has
    /// none for, do not count.
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let drawn = values.filter(|value| scale.draws(*value));
        let (least, most) = drawn.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        match scale {
            Scale::Linear => Self::linear(most),
            Scale::Logarithmic if most > 0.0 => Self::logarithmic(least, most),
            Scale::Logarithmic => Self::logarithmic(1.0, 10.0),
        }
    }

    fn linear(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let count = (most / step).ceil().clamp(1.0, 10.0);
        let marks: Vec<f64> = (0_u8..=10)
            .map(f64::from)
            .take_while(|index| *index <= count)
            .map(|index| index * step)
            .collect();
        Self {
            scale: Scale::Linear,
            from: 0.0,
            to: count * step,
            marks,
        }
    }

    fn logarithmic(least: f64, most: f64) -> Self {
        let first = least.log10().floor().clamp(-9.0, 12.0);
        let last = most.log10().ceil().clamp(first + 1.0, first + 15.0);
        let powers = (0_u8..=15).map(|index| first + f64::from(index));
        Self {
            scale: Scale::Logarithmic,
            from: first,
            to: last,
            marks: powers
                .take_while(|power| *power <= last)
                .map(|power| 10_f64.powf(power))
                .collect(),
        }
    }

    /// Where a value is, from 0 to 1; `None` if it cannot be drawn.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !self.scale.draws(value) {
            return None;
        }
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.log10(),
        };
        Some((value - self.from) / (self.to - self.from))
    }
}

impl Scale {
    fn draws(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }
}

/// A value in few characters: `0.5`, `20`, `1.5k`, `3M`.
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
    fn marks_are_round_and_hold_every_value() {
        let axis = Axis::of(Scale::Linear, [3.0, 87.0].into_iter());
        assert_eq!(axis.marks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(axis.place(50.0), Some(0.5));
        let axis = Axis::of(Scale::Logarithmic, [0.3, 40.0].into_iter());
        assert_eq!(axis.marks.len(), 4);
        assert_eq!(axis.place(100.0), Some(1.0));
        assert!(
            axis.place(1.0)
                .is_some_and(|place| (place - 1.0 / 3.0).abs() < 1e-9)
        );
    }

    #[test]
    fn odd_values_make_no_odd_axis() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for values in [
                &[][..],
                &[0.0],
                &[f64::NAN, f64::INFINITY],
                &[1e300, 1e-300],
            ] {
                let axis = Axis::of(scale, values.iter().copied());
                assert!((2..=20).contains(&axis.marks.len()), "{axis:?}");
                assert_eq!(axis.place(f64::NAN), None);
            }
        }
        let logarithmic = Axis::of(Scale::Logarithmic, [1.0].into_iter());
        assert_eq!(logarithmic.place(0.0), None);
    }

    #[test]
    fn values_are_written_short() {
        let written = [0.0, 0.5, 0.0001, 3.0, 19_000.0, 1_500_000.0, 250.4].map(short);
        assert_eq!(written, ["0", "0.5", "0.0001", "3", "19k", "1.5M", "250"]);
    }
}
