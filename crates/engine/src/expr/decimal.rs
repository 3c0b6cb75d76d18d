//! Exact decimal numbers: an integer of up to 38 digits, and how many of them stand after the point.
//!
//! Everything is done in 128 bits where that suffices and in 256 bits where it does not; a result of more than 38 digits
//! is None.

use std::cmp::Ordering;

use arrow::datatypes::i256;

/// The most digits a decimal can have.
pub(crate) const MAX_PRECISION: u8 = 38;

/// Returns 10 to the power; `exponent` is at most 38.
#[inline]
pub(crate) const fn power_of_ten(exponent: u8) -> i128 {
    POWERS[exponent as usize]
}

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Returns how many digits a number has; 0 has none.
pub(crate) fn digit_count(digits: i128) -> u8 {
    match digits.unsigned_abs().checked_ilog10() {
        Some(log) => log as u8 + 1,
        None => 0,
    }
}

/// Returns true when the number has at most `precision` digits.
#[inline]
pub(crate) fn fits(digits: i128, precision: u8) -> bool {
    digits.unsigned_abs() < power_of_ten(precision).unsigned_abs()
}

/// Returns the number as text, with all digits of its scale.
pub(crate) fn text(digits: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let sign = if digits < 0 { "-" } else { "" };
    let magnitude = digits.unsigned_abs().to_string();
    if scale == 0 {
        return format!("{sign}{magnitude}");
    }
    let padded = format!("{magnitude:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// Reads `[+-]digits[.digits]`: digits without point, and how many stood after it. None when it is not that, or has
/// more than 38 digits after its leading zeros.
pub(crate) fn parse_digits(text: &str) -> Option<(i128, u8)> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > usize::from(MAX_PRECISION) {
        return None;
    }
    let mut digits = 0i128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        digits = digits.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    if !fits(digits, MAX_PRECISION) {
        return None;
    }
    Some((if negative { -digits } else { digits }, fraction.len() as u8))
}

/// Returns the number with another scale: exact when it grows, rounded half to even when it shrinks. None beyond 38 digits.
pub(crate) fn rescale(digits: i128, from: u8, to: u8) -> Option<i128> {
    let rescaled = if to >= from {
        digits.checked_mul(power_of_ten(to - from))?
    } else {
        divide_half_even(digits, power_of_ten(from - to))
    };
    fits(rescaled, MAX_PRECISION).then_some(rescaled)
}

/// Returns the number without its fraction.
pub(crate) fn truncate(digits: i128, scale: u8) -> i128 {
    digits / power_of_ten(scale)
}

/// Divides and rounds half to even; the divisor is positive.
fn divide_half_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    let twice = remainder.unsigned_abs() * 2;
    let away = match twice.cmp(&divisor.unsigned_abs()) {
        Ordering::Less => false,
        Ordering::Equal => quotient % 2 != 0,
        Ordering::Greater => true,
    };
    if away { quotient + dividend.signum() } else { quotient }
}

/// Compares two numbers of any scales.
#[inline]
pub(crate) fn compare(left: i128, left_scale: u8, right: i128, right_scale: u8) -> Ordering {
    if left_scale == right_scale {
        return left.cmp(&right);
    }
    let scale = left_scale.max(right_scale);
    let narrow =
        (left.checked_mul(power_of_ten(scale - left_scale)), right.checked_mul(power_of_ten(scale - right_scale)));
    match narrow {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => wide(left, scale - left_scale).cmp(&wide(right, scale - right_scale)),
    }
}

/// Adds two numbers of any scales; the result has the greater scale. `sign` is 1, or −1 to subtract.
pub(crate) fn add(left: i128, left_scale: u8, right: i128, right_scale: u8, sign: i128) -> Option<i128> {
    let scale = left_scale.max(right_scale);
    let narrow = left.checked_mul(power_of_ten(scale - left_scale)).and_then(|left| {
        right
            .checked_mul(power_of_ten(scale - right_scale))
            .and_then(|right| left.checked_add(right.checked_mul(sign)?))
    });
    let sum = match narrow {
        Some(sum) => sum,
        // Cancellation may bring a sum back into range that its parts left.
        None => wide(left, scale - left_scale)
            .checked_add(wide(right, scale - right_scale).checked_mul(i256::from_i128(sign))?)?
            .to_i128()?,
    };
    fits(sum, MAX_PRECISION).then_some(sum)
}

/// Multiplies; the scales add up.
pub(crate) fn multiply(left: i128, right: i128) -> Option<i128> {
    left.checked_mul(right).filter(|product| fits(*product, MAX_PRECISION))
}

/// Divides, rounded half to even to `scale` digits after the point. None beyond 38 digits. The divisor is not zero.
pub(crate) fn divide(left: i128, left_scale: u8, right: i128, right_scale: u8, scale: u8) -> Option<i128> {
    // left / 10^ls / (right / 10^rs) * 10^scale = left * 10^(scale + rs - ls) / right; the exponent is not negative,
    // because a quotient's scale is at least its dividend's. Beyond 256 bits the quotient has more than 38 digits.
    let mut dividend = i256::from_i128(left);
    let mut exponent = scale + right_scale - left_scale;
    while exponent > 0 {
        let step = exponent.min(MAX_PRECISION);
        dividend = dividend.checked_mul(i256::from_i128(power_of_ten(step)))?;
        exponent -= step;
    }
    let divisor = i256::from_i128(right);
    let (quotient, remainder) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
    let quotient = quotient.to_i128()?;
    // |remainder| < |divisor| < 2^127, so doubling stays far inside 256 bits.
    let twice = magnitude(remainder).checked_mul(i256::from_i128(2))?;
    let away = match twice.cmp(&magnitude(divisor)) {
        Ordering::Less => false,
        Ordering::Equal => quotient % 2 != 0,
        Ordering::Greater => true,
    };
    let direction = if (left < 0) == (right < 0) { 1 } else { -1 };
    let rounded = if away { quotient.checked_add(direction)? } else { quotient };
    fits(rounded, MAX_PRECISION).then_some(rounded)
}

/// Divides without remainder, towards zero: the whole quotient. None beyond 38 digits. The divisor is not zero.
pub(crate) fn quotient(left: i128, left_scale: u8, right: i128, right_scale: u8) -> Option<i128> {
    let scale = left_scale.max(right_scale);
    let quotient = wide(left, scale - left_scale).checked_div(wide(right, scale - right_scale))?.to_i128()?;
    fits(quotient, MAX_PRECISION).then_some(quotient)
}

/// Returns what a whole quotient leaves, with the dividend's sign and the greater scale. The divisor is not zero.
pub(crate) fn remainder(left: i128, left_scale: u8, right: i128, right_scale: u8) -> Option<i128> {
    let scale = left_scale.max(right_scale);
    let remainder = wide(left, scale - left_scale).checked_rem(wide(right, scale - right_scale))?.to_i128()?;
    fits(remainder, MAX_PRECISION).then_some(remainder)
}

/// Returns the nearest float, ties to even.
pub(crate) fn to_f64(digits: i128, scale: u8) -> f64 {
    const EXACT: i128 = 1 << 53;
    if digits.abs() <= EXACT && scale <= 22 {
        // Both are exact floats, so the division rounds once.
        return digits as f64 / power_of_ten(scale) as f64;
    }
    text(digits, scale).parse().expect("a decimal's text is a number")
}

/// Returns the float's exact value rounded half to even to `scale` digits after the point. None for NaN, infinities and
/// numbers beyond 38 digits.
pub(crate) fn from_f64(value: f64, scale: u8) -> Option<i128> {
    if !value.is_finite() || value.abs() >= 1e39 {
        return None;
    }
    // Rust writes a float's exact value, rounded half to even at the digits asked for.
    let (digits, _) = parse_digits(&format!("{value:.width$}", width = usize::from(scale)))?;
    Some(digits)
}

fn wide(digits: i128, exponent: u8) -> i256 {
    i256::from_i128(digits).wrapping_mul(i256::from_i128(power_of_ten(exponent)))
}

fn magnitude(value: i256) -> i256 {
    value.wrapping_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_all_digits_of_the_scale() {
        assert_eq!(text(5, 2), "0.05");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(-12345, 2), "-123.45");
        assert_eq!(text(7, 0), "7");
    }

    #[test]
    fn digits_are_read_with_their_scale() {
        assert_eq!(parse_digits("-1.50"), Some((-150, 2)));
        assert_eq!(parse_digits(".5"), Some((5, 1)));
        assert_eq!(parse_digits("0000000000000000000000000000000000000000012"), Some((12, 0)));
        for bad in ["", "-", ".", "1e3", " 1", "1.2.3", "100000000000000000000000000000000000000"] {
            assert_eq!(parse_digits(bad), None, "{bad}");
        }
    }

    #[test]
    fn shrinking_a_scale_rounds_half_to_even() {
        for (digits, expected) in [(25, 2), (35, 4), (-25, -2), (-35, -4), (26, 3), (24, 2)] {
            assert_eq!(rescale(digits, 1, 0), Some(expected));
        }
        assert_eq!(rescale(power_of_ten(37), 0, 1), None);
    }

    #[test]
    fn comparison_does_not_overflow() {
        let most = power_of_ten(38) - 1;
        assert_eq!(compare(most, 0, most, 38), Ordering::Greater);
        assert_eq!(compare(-most, 0, -most, 38), Ordering::Less);
        assert_eq!(compare(150, 2, 15, 1), Ordering::Equal);
    }

    #[test]
    fn sums_that_come_back_into_range_are_right() {
        // 18 is beyond 128 bits when rescaled to 37 digits after the point; taking 9.9 away brings it back.
        assert_eq!(add(18, 0, 99 * power_of_ten(36), 37, -1), Some(81 * power_of_ten(36)));
        assert_eq!(add(power_of_ten(38) - 1, 0, 1, 0, 1), None);
    }

    #[test]
    fn division_rounds_half_to_even_and_knows_its_limits() {
        assert_eq!(divide(100, 2, 300, 2, 6), Some(333_333));
        assert_eq!(divide(200, 2, 300, 2, 6), Some(666_667));
        assert_eq!(divide(-200, 2, 300, 2, 6), Some(-666_667));
        assert_eq!(divide(1, 0, 8, 0, 2), Some(12));
        assert_eq!(divide(3, 0, 8, 0, 2), Some(38));
        assert_eq!(divide(power_of_ten(37), 0, 1, 38, 38), None);
    }

    #[test]
    fn remainder_has_the_sign_of_the_dividend() {
        assert_eq!(remainder(-75, 1, 2, 0), Some(-15));
        assert_eq!(quotient(-75, 1, 2, 0), Some(-3));
    }

    #[test]
    fn floats_are_rounded_once() {
        assert_eq!(to_f64(15, 1), 1.5);
        let digits = 123_456_789_012_345_678_901_234_567;
        assert_eq!(to_f64(digits, 20).to_bits(), "1234567.89012345678901234567".parse::<f64>().unwrap().to_bits());
        assert_eq!(from_f64(0.125, 2), Some(12));
        assert_eq!(from_f64(0.375, 2), Some(38));
        assert_eq!(from_f64(1.005, 2), Some(100));
        assert_eq!(from_f64(f64::NAN, 2), None);
        // The float nearest to 10^38 is a little less, and has 38 digits.
        assert_eq!(from_f64(1e38, 0), Some(99_999_999_999_999_997_748_809_823_456_034_029_568));
        assert_eq!(from_f64(1.1e38, 0), None);
    }
}
