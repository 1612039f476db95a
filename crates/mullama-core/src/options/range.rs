//! The ranges of option values.

use std::fmt::Display;
use std::ops::{RangeFrom, RangeInclusive, RangeTo};

use crate::{Error, Result};

/// The allowed values of an option.
pub trait Allowed<T> {
    /// Whether a value is allowed.
    fn allows(&self, value: &T) -> bool;

    /// The rule, as the error message states it: "must be 0 or more".
    fn rule(&self) -> String;
}

/// Returns an error for a value outside its option's range.
pub(crate) fn check_range<T: Display>(
    name: &str,
    value: &T,
    range: &impl Allowed<T>,
) -> Result<()> {
    if range.allows(value) {
        return Ok(());
    }
    Err(Error::option(name, format!("{}, and is {value}", range.rule())))
}

/// Finite numbers greater than this one.
pub(crate) struct MoreThan(pub f32);

/// Every finite number.
pub(crate) struct Finite;

impl Allowed<f32> for MoreThan {
    fn allows(&self, value: &f32) -> bool {
        value.is_finite() && *value > self.0
    }

    fn rule(&self) -> String {
        format!("must be more than {}", self.0)
    }
}

impl Allowed<f32> for Finite {
    fn allows(&self, value: &f32) -> bool {
        value.is_finite()
    }

    fn rule(&self) -> String {
        "must be a number".to_owned()
    }
}

macro_rules! ranges {
    ($($ty:ty),+) => {$(
        impl Allowed<$ty> for RangeInclusive<$ty> {
            fn allows(&self, value: &$ty) -> bool {
                self.contains(value)
            }

            fn rule(&self) -> String {
                format!("must lie between {} and {}", self.start(), self.end())
            }
        }

        impl Allowed<$ty> for RangeFrom<$ty> {
            fn allows(&self, value: &$ty) -> bool {
                self.contains(value) && *value <= <$ty>::MAX
            }

            fn rule(&self) -> String {
                format!("must be {} or more", self.start)
            }
        }

        impl Allowed<$ty> for RangeTo<$ty> {
            fn allows(&self, value: &$ty) -> bool {
                self.contains(value)
            }

            fn rule(&self) -> String {
                format!("must be less than {}", self.end)
            }
        }
    )+};
}

ranges!(u32, i32, f32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_errors_state_the_range() {
        let refused = |result: Result<()>| result.unwrap_err().to_string();
        check_range("top_p", &0.5, &(0.0..=1.0)).unwrap();
        let error = refused(check_range("top_p", &1.5, &(0.0..=1.0)));
        assert_eq!(error, "option `top_p`: must lie between 0 and 1, and is 1.5");
        assert!(refused(check_range("x", &f32::NAN, &(0.0..=1.0))).contains("NaN"));
        assert!(refused(check_range("x", &f32::INFINITY, &(0.0..))).contains("must be 0 or more"));
        assert!(refused(check_range("x", &0.0, &MoreThan(0.0))).contains("must be more than 0"));
        assert!(refused(check_range("x", &f32::INFINITY, &Finite)).contains("must be a number"));
        assert!(refused(check_range("x", &-2, &(-1..))).contains("must be -1 or more"));
        check_range("x", &u32::MAX, &(1..)).unwrap();
        assert!(refused(check_range("x", &7_u32, &(..7))).contains("must be less than 7"));
    }
}
