//! Decimal numbers, exact: billionths in 128 bits.

/// Billionths of one.
pub(super) const ONE: i128 = 1_000_000_000;
const MOST_DIGITS: usize = 18;
const MOST_PLACES: usize = 9;

/// The number of this text, if it is one. No more than eighteen digits before
/// the point and nine behind it.
pub(super) fn parse(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, places) = match point {
        Some(point) => (digits.get(..point)?, digits.get(point + 1..)?),
        None => (digits, &b"0"[..]),
    };
    if !(1..=MOST_DIGITS).contains(&whole.len()) || !(1..=MOST_PLACES).contains(&places.len()) {
        return None;
    }
    let value = |digits: &[u8]| {
        digits.iter().try_fold(0_i128, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i128::from(byte - b'0')))
    };
    let scale = 10_i128.pow((MOST_PLACES - places.len()) as u32);
    let number = value(whole)? * ONE + value(places)? * scale;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_everything_else_is_none() {
        for (text, billionths) in [
            ("0", 0),
            ("-0", 0),
            ("1.5", 1_500_000_000),
            ("-1.000000001", -1_000_000_001),
            ("007", 7 * ONE),
            ("999999999999999999.999999999", 999_999_999_999_999_999_999_999_999),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(billionths), "{text}");
        }
        for text in ["", "-", ".5", "1.", "1e3", " 1", "+1", "1.0000000001", "1234567890123456789", "1.2.3", "٣", "--1"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
