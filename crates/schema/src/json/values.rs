//! Values compared as JSON Schema compares them: `1` and `1.0` are equal.
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Whether the values are equal to JSON Schema.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Ordering::Equal,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        (one, other) => one == other,
    }
}

/// Beyond this a number of 64 bits with a point has no fraction, and is larger
/// than any without one.
const HUGE: f64 = 1e30;

/// Compares exactly, however the numbers are written.
pub(super) fn compare(one: &Number, other: &Number) -> Ordering {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        // One has a fraction, so it is below 2^53 where the other, if it is whole
        // and rounded here, is not near it; or it is larger than all whole ones.
        _ => float(one).partial_cmp(&float(other)).unwrap_or(Ordering::Equal),
    }
}

/// The number, if it is whole and below [`HUGE`].
pub(super) fn whole(number: &Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(i128::from(number));
    }
    if let Some(number) = number.as_u64() {
        return Some(i128::from(number));
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and within the range")]
    number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < HUGE).map(|number| number as i128)
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}
