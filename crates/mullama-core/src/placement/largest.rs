//! Finds the largest number that fits, with few evaluations.

use crate::Result;

/// The starting point zero, with which all room is left.
pub(super) const NONE: (u32, f64) = (0, 1.0);

/// Returns the largest number up to `most` that fits, that is, for which `room` is not negative. The room must decrease
/// with the number. `held` is a number that fits, with its room. The decrease is usually almost linear, so the search
/// interpolates linearly; if that converges slowly, it bisects.
pub(super) fn largest(
    mut held: (u32, f64),
    most: u32,
    room: impl Fn(u32) -> Result<f64>,
) -> Result<u32> {
    /// Number of consecutive slow steps, which remove less than half of the interval, before a bisection.
    const MAX_SLOW_STEPS: u32 = 2;
    if most <= held.0 {
        return Ok(most);
    }
    let mut beyond = (most, room(most)?);
    if beyond.1 >= 0.0 {
        return Ok(most);
    }
    let mut slow = 0;
    while beyond.0 - held.0 > 1 {
        let between = beyond.0 - held.0;
        let share = if slow < MAX_SLOW_STEPS { held.1 / (held.1 - beyond.1) } else { 0.5 };
        let middle = held.0 + ((f64::from(between) * share) as u32).clamp(1, between - 1);
        match room(middle)? {
            left if left >= 0.0 => held = (middle, left),
            short => beyond = (middle, short),
        }
        slow = if (beyond.0 - held.0) * 2 <= between { 0 } else { slow + 1 };
    }
    Ok(held.0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn largest_fitting_value_is_found_in_few_tries() {
        let tries = |most: u32, room: &dyn Fn(u32) -> f64| {
            let asked = RefCell::new(Vec::new());
            let found = largest((0, room(0)), most, |n| {
                asked.borrow_mut().push(n);
                Ok(room(n))
            });
            (found.unwrap(), asked.into_inner().len())
        };
        for limit in 0..=200 {
            // Linear, stepwise and curved room: none takes many more evaluations than bisection.
            let even = tries(200, &|n| 1.0 - f64::from(n) / (f64::from(limit) + 0.5));
            assert!(even.0 == limit && even.1 <= 3, "{limit}: {even:?}");
            let leap = tries(200, &|n| if n <= limit { 0.01 } else { -1.0 });
            assert!(leap.0 == limit && leap.1 <= 24, "{limit}: {leap:?}");
            let curved = tries(200, &|n| 1.0 - (f64::from(n) / (f64::from(limit) + 0.5)).powi(4));
            assert!(curved.0 == limit && curved.1 <= 24, "{limit}: {curved:?}");
        }
        assert_eq!(tries(0, &|_| -1.0).0, 0);
    }
}
