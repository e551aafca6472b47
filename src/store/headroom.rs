//! The rule that divides a bound among its holders.

/// What a change would leave free of a bound.
///
/// A holder may take more as long as it holds no more than would still be free. This is the rule of
/// switches that share a buffer (Choudhury and Hahn, "Dynamic queue length thresholds", 1998). A
/// single holder gets half of a bound, and a holder that holds nothing is refused only when nothing
/// is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headroom {
    free: u64,
    used: u64,
    grows: bool,
}

impl Headroom {
    /// Computes what is left of `bound`, of which `used` is in use, when a change takes `more` and
    /// frees `freed` in the same step. Returns `None` when the change would exceed the bound. A
    /// change that frees at least what it takes is always admitted.
    pub(crate) fn after(bound: u64, used: u64, more: u64, freed: u64) -> Option<Self> {
        let grows = more > freed;
        let used = used.saturating_sub(freed).saturating_add(more);
        let free = bound.checked_sub(used);
        if grows && free.is_none() {
            return None;
        }
        Some(Self {
            free: free.unwrap_or(0),
            used,
            grows,
        })
    }

    /// Returns whether so much is free that every holder is admitted, whatever it holds.
    pub(crate) fn admits_all(self) -> bool {
        !self.grows || self.used <= self.free
    }

    /// Returns whether a holder may make the change. `held` is what it holds without what the
    /// change frees.
    pub(crate) fn admits(self, held: u64) -> bool {
        !self.grows || held <= self.free
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes units for a holder until one is refused.
    fn fill(bound: u64, held: &mut [u64], who: usize) {
        while Headroom::after(bound, held.iter().sum(), 1, 0).is_some_and(|it| it.admits(held[who]))
        {
            held[who] += 1;
        }
    }

    #[test]
    fn each_holder_gets_half_of_what_is_free() {
        let mut held = [0; 3];
        for who in 0..3 {
            fill(120, &mut held, who);
        }
        assert_eq!(held, [60, 30, 15]);
        // Once the first has freed its share, the others get more.
        held[0] = 0;
        fill(120, &mut held, 1);
        assert_eq!(held, [0, 53, 15]);
    }

    #[test]
    fn a_change_that_does_not_grow_is_admitted_over_a_lowered_bound() {
        let headroom = Headroom::after(10, 20, 3, 3);
        assert!(headroom.is_some_and(|headroom| headroom.admits_all() && headroom.admits(20)));
        assert_eq!(Headroom::after(10, 20, 4, 3), None);
    }

    proptest! {
        /// Holders take and free units in any order.
        #[test]
        fn the_bound_is_kept_and_only_those_above_what_is_free_are_refused(
            bound in 1_u64..200,
            steps in prop::collection::vec((0_usize..6, 1_u64..12, any::<bool>()), 1..300),
        ) {
            let mut held = [0_u64; 6];
            for (who, amount, gives_back) in steps {
                if gives_back {
                    held[who] = held[who].saturating_sub(amount);
                    continue;
                }
                let used: u64 = held.iter().sum();
                let headroom = Headroom::after(bound, used, amount, 0);
                if headroom.is_some_and(|headroom| headroom.admits_all()) {
                    prop_assert!(held.iter().all(|it| headroom.is_some_and(|headroom| headroom.admits(*it))));
                }
                match headroom {
                    Some(headroom) if headroom.admits(held[who]) => held[who] += amount,
                    // A holder that holds less would be admitted here.
                    Some(_) => prop_assert!(held[who] > bound - used - amount),
                    None => prop_assert!(used + amount > bound),
                }
                prop_assert!(held.iter().sum::<u64>() <= bound);
            }
        }

        /// Hogs that take all they can get still leave headroom for a holder that holds nothing.
        #[test]
        fn greedy_holders_never_fill_a_bound(bound in 64_u64..100_000, hogs in 1_usize..6) {
            let mut held = vec![0; hogs + 1];
            for _ in 0..3 {
                for hog in 0..hogs {
                    fill(bound, &mut held, hog);
                }
            }
            let free = bound - held.iter().sum::<u64>();
            prop_assert!(free >= bound >> hogs, "{held:?}");
            prop_assert!(Headroom::after(bound, bound - free, 1, 0).is_some_and(|it| it.admits(0)));
        }
    }
}
