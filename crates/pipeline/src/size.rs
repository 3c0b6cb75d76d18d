//! Sizes: an integer and `KiB`, `MiB` or `GiB`, or bytes alone.

/// The units and how many bytes each has.
const UNITS: &[(&str, u64)] = &[("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// The pattern of a size in the JSON Schema.
pub(crate) const PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB)?$";

/// Reads a size in bytes, or says why not.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err("write a size such as 512KiB, 64MiB or 1GiB");
    };
    let number: u64 = number.parse().map_err(|_| "write a size such as 64MiB")?;
    number.checked_mul(*factor).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or("that is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_integers_with_units_of_1024() {
        assert_eq!(["7", "7B", "2KiB", "3MiB", "1GiB"].map(parse), [Ok(7), Ok(7), Ok(2048), Ok(3 << 20), Ok(1 << 30)]);
        for wrong in ["", "MiB", "64MB", "64 MiB", "-1", "1.5GiB", "9999999999GiB", "99999999999999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
