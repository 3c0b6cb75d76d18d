//! Texts to single values and back: numbers, decimals, timestamps, dates.
//!
//! Everything here is a pure function of its arguments. Numbers follow JSON's grammar wherever they stand.

use std::io::Write;

use super::reason::Reason;

/// A number longer than this is refused before anything is made of it.
pub(crate) const NUMBER_SIZE: usize = 64;

/// Microseconds of 0000-01-01T00:00:00Z.
pub(crate) const TIMESTAMP_MIN: i64 = -62_167_219_200_000_000;
/// Microseconds of 9999-12-31T23:59:59.999999Z. Timestamps stay within, so that every one can be written as RFC 3339.
pub(crate) const TIMESTAMP_MAX: i64 = 253_402_300_799_999_999;
/// Days of 0000-01-01 and of 9999-12-31.
pub(crate) const DATE_MIN: i32 = -719_528;
pub(crate) const DATE_MAX: i32 = 2_932_896;

const DAY_US: i64 = 86_400_000_000;

/// A number as it was written: `digits × 10^exponent` unless `is_exact` is false.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    /// Byte past its last.
    pub(crate) end: usize,
    pub(crate) is_negative: bool,
    /// No point and no exponent.
    pub(crate) is_integer: bool,
    /// Its digits read as an integer; meaningful when `is_exact`.
    pub(crate) digits: u64,
    pub(crate) exponent: i32,
    /// At most 19 digits, and an exponent of less than 1,000.
    pub(crate) is_exact: bool,
}

/// Reads the number that starts at `start`. Gives back the byte at which it stops being one.
#[inline(always)]
pub(crate) fn scan_number(bytes: &[u8], start: usize) -> Result<Number, usize> {
    let mut i = start;
    let is_negative = bytes.get(i) == Some(&b'-');
    i += usize::from(is_negative);
    let mut digits: u64 = 0;
    let first = i;
    while let Some(digit) = digit_at(bytes, i) {
        digits = digits.wrapping_mul(10).wrapping_add(digit);
        i += 1;
    }
    let mut digit_count = i - first;
    if digit_count == 0 || (digit_count > 1 && bytes[first] == b'0') {
        return Err(first + usize::from(digit_count > 1));
    }
    let mut exponent = 0i32;
    let mut is_integer = true;
    if bytes.get(i) == Some(&b'.') {
        is_integer = false;
        let point = i + 1;
        i = point;
        while let Some(digit) = digit_at(bytes, i) {
            digits = digits.wrapping_mul(10).wrapping_add(digit);
            i += 1;
        }
        if i == point {
            return Err(i);
        }
        digit_count += i - point;
        exponent = -((i - point).min(1_000_000) as i32);
    }
    let mut is_exact = digit_count <= 19;
    if matches!(bytes.get(i), Some(b'e' | b'E')) {
        is_integer = false;
        i += 1;
        let sign = bytes.get(i).copied();
        i += usize::from(matches!(sign, Some(b'+' | b'-')));
        let power = i;
        let mut value = 0i32;
        while let Some(digit) = digit_at(bytes, i) {
            value = value.saturating_mul(10).saturating_add(digit as i32);
            i += 1;
        }
        if i == power {
            return Err(i);
        }
        is_exact &= value < 1_000;
        exponent = exponent.saturating_add(if sign == Some(b'-') { -value } else { value });
    }
    Ok(Number { end: i, is_negative, is_integer, digits, exponent, is_exact })
}

#[inline]
fn digit_at(bytes: &[u8], i: usize) -> Option<u64> {
    let digit = bytes.get(i)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// Returns the integer a number stands for.
#[inline(always)]
pub(crate) fn integer(number: &Number) -> Result<i64, Reason> {
    if !number.is_integer {
        return Err(Reason::NotAnInteger);
    }
    if !number.is_exact {
        return Err(Reason::OutOfRange);
    }
    if number.is_negative {
        0i64.checked_sub_unsigned(number.digits).ok_or(Reason::OutOfRange)
    } else {
        i64::try_from(number.digits).map_err(|_| Reason::OutOfRange)
    }
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Returns the double next to what a number says, as `str::parse` does; −0 is 0.
#[inline(always)]
pub(crate) fn float(text: &str, number: &Number) -> Result<f64, Reason> {
    // With digits below 2^53 and a power of ten that is exact, one multiplication or division rounds once: that is the
    // correctly rounded value. Everything else goes the long way.
    let power = number.exponent.unsigned_abs() as usize;
    if number.is_exact && number.digits <= 1 << 53 && power < POWERS.len() {
        let digits = number.digits as f64;
        let size = if number.exponent < 0 { digits / POWERS[power] } else { digits * POWERS[power] };
        return Ok(if number.is_negative && size != 0.0 { -size } else { size });
    }
    let value: f64 = text.parse().map_err(|_| Reason::InvalidNumber)?;
    if value.is_infinite() {
        return Err(Reason::OutOfRange);
    }
    Ok(if value == 0.0 { 0.0 } else { value })
}

/// Returns the decimal that a number's text says, times `10^scale`. Never goes through a float.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, Reason> {
    let number = scan_number(text.as_bytes(), 0).map_err(|_| Reason::InvalidNumber)?;
    if number.end != text.len() {
        return Err(Reason::InvalidNumber);
    }
    // `exponent` is minus the count of digits after the point once the exponent is applied.
    let shift = i64::from(scale) + i64::from(number.exponent);
    if shift < 0 {
        return Err(Reason::DecimalScale);
    }
    let mut value: i128 = 0;
    let mantissa = text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).filter(u8::is_ascii_digit);
    for digit in mantissa {
        value =
            value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0'))).ok_or(Reason::OutOfRange)?;
    }
    if value != 0 {
        for _ in 0..shift {
            value = value.checked_mul(10).ok_or(Reason::OutOfRange)?;
        }
    }
    if value >= 10i128.pow(u32::from(precision)) {
        return Err(Reason::OutOfRange);
    }
    Ok(if number.is_negative { -value } else { value })
}

/// Returns the microseconds of a time that has come out of a calculation, if it is in range.
#[inline]
pub(crate) fn in_range(micros: Option<i64>) -> Result<i64, Reason> {
    micros.filter(|us| (TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(us)).ok_or(Reason::TimestampOutOfRange)
}

/// Reads an RFC 3339 time. Digits finer than microseconds are cut, which is the floor before 1970 too.
#[inline]
pub(crate) fn rfc3339(text: &[u8]) -> Result<i64, Reason> {
    rfc3339_by(text, days)
}

/// A day as text and as a number: most times are of the same day as the one before.
#[derive(Clone, Copy, Default)]
pub(crate) struct Day([u8; 10], i64);

/// The same as [`rfc3339`], with the day that was read last.
#[inline(always)]
pub(crate) fn rfc3339_of(text: &[u8], last: &mut Day) -> Result<i64, Reason> {
    rfc3339_by(text, |day| {
        if *day != last.0 {
            *last = Day(*day, days(day)?);
        }
        Some(last.1)
    })
}

#[inline(always)]
fn rfc3339_by(text: &[u8], days: impl FnOnce(&[u8; 10]) -> Option<i64>) -> Result<i64, Reason> {
    const BAD: Reason = Reason::InvalidTimestamp;
    // Of a known size, so that the places below need no check: this is the hottest parser of all.
    let (head, rest) = text.split_first_chunk::<19>().ok_or(BAD)?;
    let digit = |i: usize| i64::from(head[i].wrapping_sub(b'0'));
    let two = |i: usize| digit(i) * 10 + digit(i + 1);
    let is_digit = |i: &usize| head[*i].is_ascii_digit();
    let is_marked = head[4] == b'-' && head[7] == b'-' && head[13] == b':' && head[16] == b':';
    if !is_marked || !matches!(head[10], b'T' | b't' | b' ') || ![11, 12, 14, 15, 17, 18].iter().all(is_digit) {
        return Err(BAD);
    }
    let days = days(head.first_chunk().expect("ten bytes")).ok_or(BAD)?;
    let (hour, minute, second) = (two(11), two(14), two(17));
    let (micros, rest) = fraction(rest).ok_or(BAD)?;
    let shift_minutes = match rest {
        [b'Z' | b'z'] => 0,
        _ => offset_minutes(rest).ok_or(BAD)?,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return Err(BAD);
    }
    if second == 60 {
        return Err(Reason::LeapSecond);
    }
    let seconds = (hour * 60 + minute - shift_minutes) * 60 + second;
    in_range(Some(days * DAY_US + seconds * 1_000_000 + micros))
}

/// Returns the microseconds of a fraction of a second, if there is one, and what follows.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    // Six digits are what most programs write.
    if let Some((six, rest @ [b'Z', ..])) = digits.split_first_chunk::<6>()
        && six.iter().all(u8::is_ascii_digit)
    {
        return Some((six.iter().fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')), rest));
    }
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let places = digits[..count].iter().copied().chain([b'0'; 6]).take(6);
    let micros = places.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    (count > 0).then(|| (micros, &digits[count..]))
}

/// Returns the minutes of an offset such as `+05:30`.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let [sign @ (b'+' | b'-'), a, b, b':', c, d] = text else { return None };
    if ![a, b, c, d].into_iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
    let (hours, minutes) = (two(a, b), two(c, d));
    let size = hours * 60 + minutes;
    (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -size } else { size })
}

/// Reads a `%`-pattern's time. Without an offset in the pattern the time is UTC, without a time of day it is midnight.
pub(crate) fn by_pattern(text: &str, pattern: &str) -> Result<i64, Reason> {
    use chrono::format::{Parsed, StrftimeItems, parse};
    const BAD: Reason = Reason::InvalidTimestamp;
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(pattern)).map_err(|_| BAD)?;
    if parsed.second() == Some(60) {
        return Err(Reason::LeapSecond);
    }
    let time = if parsed.offset().is_some() {
        parsed.to_datetime().map_err(|_| BAD)?.naive_utc()
    } else if let Ok(time) = parsed.to_naive_datetime_with_offset(0) {
        time
    } else {
        let has_time = parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some() || parsed.minute().is_some();
        if has_time {
            return Err(BAD);
        }
        parsed.to_naive_date().map_err(|_| BAD)?.and_hms_opt(0, 0, 0).ok_or(BAD)?
    };
    let seconds = time.and_utc().timestamp().checked_mul(1_000_000);
    in_range(seconds.and_then(|us| us.checked_add(i64::from(time.and_utc().timestamp_subsec_nanos() / 1_000))))
}

/// Returns true when chrono understands every part of a pattern.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    !chrono::format::StrftimeItems::new(pattern).any(|item| matches!(item, chrono::format::Item::Error))
}

/// Reads `YYYY-MM-DD` and nothing else.
pub(crate) fn date(text: &[u8]) -> Result<i32, Reason> {
    let ten: Option<&[u8; 10]> = text.try_into().ok();
    ten.filter(|ten| ten[4] == b'-' && ten[7] == b'-').and_then(days).map(|days| days as i32).ok_or(Reason::InvalidDate)
}

/// Returns the days since 1970 of ten bytes `YYYY-MM-DD`, whose hyphens were looked at.
#[inline]
fn days(text: &[u8; 10]) -> Option<i64> {
    if ![0, 1, 2, 3, 5, 6, 8, 9].iter().all(|i: &usize| text[*i].is_ascii_digit()) {
        return None;
    }
    let digit = |i: usize| i64::from(text[i] - b'0');
    let year = digit(0) * 1_000 + digit(1) * 100 + digit(2) * 10 + digit(3);
    let (month, day) = (digit(5) * 10 + digit(6), digit(8) * 10 + digit(9));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    // Years that begin in March put the leap day at the end: https://howardhinnant.github.io/date_algorithms.html
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Returns year, month and day of a count of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let index = (5 * day_of_year + 2) / 153;
    let month = if index < 10 { index + 3 } else { index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * index + 2) / 5 + 1)
}

/// Writes a date as `YYYY-MM-DD`; a year outside 0000 to 9999 with its sign, as ISO 8601 has it.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    let _ = match year {
        0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
        _ => write!(out, "{year:+05}-{month:02}-{day:02}"),
    };
}

/// Writes a time as RFC 3339 in UTC with six digits of a second.
pub(crate) fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let (days, rest) = (micros.div_euclid(DAY_US), micros.rem_euclid(DAY_US));
    write_date(days, out);
    let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
    let _ = write!(out, "T{:02}:{:02}:{:02}.{micros:06}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60);
}

/// Writes a decimal with all digits of its scale.
pub(crate) fn write_decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    let _ = if scale <= 0 {
        let zeros = if digits == 0 { 0 } else { usize::from(scale.unsigned_abs()) };
        write!(out, "{sign}{digits}{:0<zeros$}", "")
    } else {
        let unit = 10u128.pow(scale as u32);
        write!(out, "{sign}{}.{:0width$}", digits / unit, digits % unit, width = scale as usize)
    };
}

/// Writes a finite float in the shortest form that reads back to the same bits.
pub(crate) fn write_float(value: f64, out: &mut Vec<u8>) {
    // The `Debug` form is that, with an exponent where it is shorter.
    let _ = write!(out, "{value:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_chrono() {
        for days in (DATE_MIN..=DATE_MAX).step_by(13).chain([DATE_MIN, -1, 0, 1, DATE_MAX]) {
            let expected = (chrono::NaiveDate::default() + chrono::Duration::days(days.into())).to_string();
            let mut text = Vec::new();
            write_date(days.into(), &mut text);
            assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            assert_eq!(date(&text), Ok(days));
        }
    }

    #[test]
    fn decimals_are_written_with_the_digits_of_their_scale() {
        let text = |value: i128, scale: i8| {
            let mut out = Vec::new();
            write_decimal(value, scale, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(12345, 2), "123.45");
        assert_eq!(text(0, 3), "0.000");
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(7, -2), "700");
        assert_eq!(text(i128::MIN, 38), "-1.70141183460469231731687303715884105728");
    }
}
