//! Durations: an integer and `us`, `ms`, `s`, `m`, `h` or `d`.

/// The units and how many microseconds each has.
const UNITS: &[(&str, i64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

/// The pattern of a duration in the JSON Schema.
pub(crate) const PATTERN: &str = "^[0-9]+(us|ms|s|m|h|d)$";

/// The longest duration: about 2,900 years, so that sums of a few fit.
const MAX_US: i64 = i64::MAX / 100;

/// Reads a duration in microseconds, or says why not.
pub fn parse(text: &str) -> Result<i64, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match (number, unit) {
            (_, "") => "the unit is missing",
            ("", _) => "it must start with an integer",
            _ => "the unit is unknown",
        });
    };
    let number: i64 = match number {
        "" => return Err("it must start with an integer"),
        number => number.parse().map_err(|_| "it is too long")?,
    };
    number.checked_mul(*factor).filter(|us| *us <= MAX_US).ok_or("it is too long")
}

/// Returns what was meant by a duration that other systems write so: `1 minute`, `INTERVAL '5' SECOND`, `1w`, `PT5M`.
pub(crate) fn meant(text: &str) -> Option<String> {
    let lower = text.to_lowercase().replace(['\'', '"'], "");
    let plain = lower.trim_start_matches("interval").trim().trim_start_matches("pt");
    let digits = plain.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = plain[..digits].parse().ok()?;
    let (unit, factor) = match plain[digits..].trim() {
        "us" | "µs" | "micros" | "microsecond" | "microseconds" => ("us", 1),
        "ms" | "millis" | "millisecond" | "milliseconds" => ("ms", 1),
        "s" | "sec" | "secs" | "second" | "seconds" => ("s", 1),
        "m" | "min" | "mins" | "minute" | "minutes" => ("m", 1),
        "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 1),
        "d" | "day" | "days" => ("d", 1),
        "w" | "week" | "weeks" => ("d", 7),
        _ => return None,
    };
    let meant = format!("{}{unit}", number.checked_mul(factor)?);
    parse(&meant).ok().map(|_| meant)
}

/// Writes a duration in the largest unit that fits it exactly.
pub fn format(us: i64) -> String {
    let (unit, factor) = UNITS.iter().rev().find(|(_, factor)| us % factor == 0).expect("1 divides everything");
    if us == 0 { "0s".into() } else { format!("{}{unit}", us / factor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_read() {
        let all = [
            ("5us", 5),
            ("5ms", 5_000),
            ("5s", 5_000_000),
            ("5m", 300_000_000),
            ("5h", 18_000_000_000),
            ("5d", 432_000_000_000),
            ("0s", 0),
        ];
        for (text, us) in all {
            assert_eq!(parse(text), Ok(us), "{text}");
            assert_eq!(format(us), text);
        }
        assert_eq!(format(90_000_000), "90s");
        assert_eq!(format(3_600_000_000), "1h");
    }

    #[test]
    fn anything_else_says_why() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "5S",
            "1.5s",
            "-5s",
            "+5s",
            "5sec",
            "5µs",
            "99999999999999999999s",
            "9223372036854d",
            "1h30m",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("10"), Err("the unit is missing"));
        let said =
            [("1 minute", "1m"), ("INTERVAL '5' SECOND", "5s"), ("2w", "14d"), ("PT5M", "5m"), ("10 Min", "10m")];
        for (text, meant) in said {
            assert!(parse(text).is_err());
            assert_eq!(super::meant(text).as_deref(), Some(meant));
        }
        assert_eq!((super::meant("1 month"), super::meant("-1h"), super::meant("x")), (None, None, None));
    }
}
