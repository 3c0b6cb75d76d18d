//! Times as texts of any form, by the codes of C's `strftime`.
//!
//! | code | means | reading |
//! | --- | --- | --- |
//! | `%Y` `%y` | year; its last two digits | up to 4 digits; 69 to 99 are of the 20th century |
//! | `%m` `%-m` `%b` `%B` | month: 2 digits, as few as needed, short name, name | 1 or 2 digits; names in any case |
//! | `%d` `%-d` `%j` `%-j` | day of the month, of the year | 1 to 3 digits |
//! | `%a` `%A` `%w` `%u` | weekday: short name, name, Sunday 0, Monday 1 | names are read and not checked |
//! | `%H` `%-H` `%I` `%-I` `%p` | hour of 24, hour of 12, AM or PM | 1 or 2 digits |
//! | `%M` `%-M` `%S` `%-S` | minute, second | 1 or 2 digits |
//! | `%f` `%g` | microseconds, 6 digits; milliseconds, 3 | a fraction of 1 to 9 digits, floored |
//! | `%G` `%V` `%U` `%W` | ISO year and week; week of the year from Sunday, from Monday | not read |
//! | `%F` `%T` `%x` `%X` `%c` | `%Y-%m-%d`, `%H:%M:%S`, the same, both with a space between | |
//! | `%z` | not written | `Z`, `+hh`, `+hhmm`, `+hh:mm` |
//! | `%%` | a percent sign | |

use super::dates::{MONTHS, WEEKDAYS, days_of};
use super::units::Part;
use crate::expr::time::{Civil, DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil};

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Text(char),
    /// A code; true: as few digits as needed.
    Code(char, bool),
}

/// A format, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    items: Vec<Item>,
}

impl Format {
    /// Reads a format that times are written by.
    pub(super) fn for_writing(text: &str) -> Result<Self, String> {
        Self::new(text, "aAbBdefgGHIjmMpSuUVwWyY")
    }

    /// Reads a format that times are read by.
    pub(super) fn for_reading(text: &str) -> Result<Self, String> {
        Self::new(text, "aAbBdfgHIjmMpSyYz")
    }

    fn new(text: &str, codes: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                items.push(Item::Text(c));
                continue;
            }
            let mut code = rest.next();
            let short = code == Some('-');
            if short {
                code = rest.next();
            }
            let Some(code) = code else { return Err(format!("the format '{text}' ends with `%`")) };
            let longer = match code {
                '%' if !short => {
                    items.push(Item::Text('%'));
                    continue;
                }
                'F' | 'x' => Some("%Y-%m-%d"),
                'T' | 'X' => Some("%H:%M:%S"),
                'c' => Some("%Y-%m-%d %H:%M:%S"),
                _ => None,
            };
            match longer {
                Some(longer) if !short => items.extend(Self::new(longer, codes)?.items),
                None if codes.contains(code) && (!short || "dHIjmMSy".contains(code)) => {
                    items.push(Item::Code(code, short));
                }
                _ => {
                    let dash = if short { "-" } else { "" };
                    return Err(format!("`%{dash}{code}` in '{text}' is no code that can be used here"));
                }
            }
        }
        Ok(Self { items })
    }

    /// Writes a time.
    pub(super) fn write(&self, ts: i64) -> String {
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Text(c) => out.push(*c),
                Item::Code(code, short) => write_code(*code, *short, ts, &mut out),
            }
        }
        out
    }

    /// Reads a time; None when the text has another form or the calendar has no such time.
    pub(super) fn read(&self, text: &str) -> Option<i64> {
        let mut found = Found::default();
        let mut rest = text;
        for item in &self.items {
            match item {
                Item::Text(c) => rest = rest.strip_prefix(*c)?,
                Item::Code(code, _) => found.read(*code, &mut rest)?,
            }
        }
        rest.is_empty().then(|| found.time()).flatten()
    }
}

fn write_code(code: char, short: bool, ts: i64, out: &mut String) {
    let (days, time) = (ts.div_euclid(DAY), ts.rem_euclid(DAY));
    let Civil { year, month, day } = civil_from_days(days);
    let weekday = Part::DayOfWeek.of(ts);
    let day_of_year = Part::DayOfYear.of(ts);
    let hour = time / HOUR;
    let mut number = |value: i64, width: usize| {
        let width = if short { 1 } else { width };
        out.push_str(&format!("{value:0width$}"));
    };
    match code {
        'Y' => number(year, 4),
        'y' => number(year.rem_euclid(100), 2),
        'G' => number(Part::IsoYear.of(ts), 4),
        'm' => number(i64::from(month), 2),
        'd' => number(i64::from(day), 2),
        'e' => out.push_str(&format!("{day:2}")),
        'j' => number(day_of_year, 3),
        'H' => number(hour, 2),
        'I' => number((hour + 11) % 12 + 1, 2),
        'M' => number(time % HOUR / MINUTE, 2),
        'S' => number(time % MINUTE / SECOND, 2),
        'f' => number(time % SECOND, 6),
        'g' => number(time % SECOND / 1_000, 3),
        'w' => number(weekday, 1),
        'u' => number(Part::IsoDayOfWeek.of(ts), 1),
        'V' => number(Part::Week.of(ts), 2),
        // The days before the first Sunday (or Monday) of a year are in week 0.
        'U' => number((day_of_year + 6 - weekday) / 7, 2),
        'W' => number((day_of_year + 6 - (weekday + 6) % 7) / 7, 2),
        'a' => out.push_str(&WEEKDAYS[weekday as usize][..3]),
        'A' => out.push_str(WEEKDAYS[weekday as usize]),
        'b' => out.push_str(&MONTHS[month as usize - 1][..3]),
        'B' => out.push_str(MONTHS[month as usize - 1]),
        'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        other => unreachable!("`%{other}` was refused"),
    }
}

/// What was read of a time so far.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    hour_of_half: Option<i64>,
    is_afternoon: bool,
    minute: i64,
    second: i64,
    fraction: i64,
    ahead: i64,
}

impl Found {
    fn read(&mut self, code: char, rest: &mut &str) -> Option<()> {
        match code {
            'Y' => self.year = Some(digits(rest, 4)?),
            'y' => {
                let year = digits(rest, 2)?;
                self.year = Some(if year < 69 { 2_000 + year } else { 1_900 + year });
            }
            'm' => self.month = Some(digits(rest, 2)?),
            'b' => self.month = Some(name(rest, MONTHS.iter().map(|name| &name[..3]))? + 1),
            'B' => self.month = Some(name(rest, MONTHS.iter().copied())? + 1),
            'd' => self.day = Some(digits(rest, 2)?),
            'j' => self.day_of_year = Some(digits(rest, 3)?),
            'a' => drop(name(rest, WEEKDAYS.iter().map(|name| &name[..3]))?),
            'A' => drop(name(rest, WEEKDAYS.iter().copied())?),
            'H' => self.hour = digits(rest, 2).filter(|hour| *hour < 24)?,
            'I' => self.hour_of_half = Some(digits(rest, 2).filter(|hour| (1..=12).contains(hour))?),
            'p' => self.is_afternoon = name(rest, ["AM", "PM"].into_iter())? == 1,
            'M' => self.minute = digits(rest, 2).filter(|minute| *minute < 60)?,
            'S' => self.second = digits(rest, 2).filter(|second| *second < 60)?,
            'f' | 'g' => self.fraction = fraction(rest)?,
            'z' => self.ahead = ahead(rest)?,
            other => unreachable!("`%{other}` was refused"),
        }
        Some(())
    }

    fn time(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1_900);
        let days = match self.day_of_year {
            Some(day) => {
                let first = days_from_civil(year, 1, 1);
                let length = days_from_civil(year + 1, 1, 1) - first;
                (1..=length).contains(&day).then_some(first + day - 1)?
            }
            None => days_of(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = match self.hour_of_half {
            Some(hour) => hour % 12 + if self.is_afternoon { 12 } else { 0 },
            None => self.hour,
        };
        Some(days * DAY + hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.fraction - self.ahead)
    }
}

fn digits(rest: &mut &str, most: usize) -> Option<i64> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(count);
    *rest = after;
    number.parse().ok()
}

/// Reads a fraction of a second behind its point, in microseconds.
fn fraction(rest: &mut &str) -> Option<i64> {
    let count = rest.bytes().take(9).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(count);
    *rest = after;
    let mut microseconds = number.get(..count.min(6))?.parse::<i64>().ok()?;
    (count..6).for_each(|_| microseconds *= 10);
    Some(microseconds)
}

fn name<'n>(rest: &mut &str, names: impl Iterator<Item = &'n str>) -> Option<i64> {
    let fits = |name: &&str| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let (index, name) = names.enumerate().find(|(_, name)| fits(name))?;
    *rest = &rest[name.len()..];
    Some(index as i64)
}

fn ahead(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix(['Z', 'z']) {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let two = |rest: &mut &str, end: i64| {
        let is_two = rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_digit);
        is_two.then(|| digits(rest, 2)).flatten().filter(|value| *value < end)
    };
    let hours = two(rest, 24)?;
    let minutes = match rest.strip_prefix(':') {
        Some(after) => {
            *rest = after;
            two(rest, 60)?
        }
        None if rest.starts_with(|c: char| c.is_ascii_digit()) => two(rest, 60)?,
        None => 0,
    };
    Some(sign * (hours * HOUR + minutes * MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        let codes = "%a %A %b %B %d %-d %e %G %H %-H %I %-I %j %-j %m %-m %M %-M %p %S %-S %u %U %V %w %W %y %% %F %T";
        let ours = Format::for_writing(codes).unwrap();
        for i in -3_000..3_000 {
            let ts = i * 7_777_777_777_777;
            let theirs = chrono::DateTime::from_timestamp_micros(ts).unwrap().format(codes).to_string();
            assert_eq!(ours.write(ts), theirs);
        }
        assert_eq!(Format::for_writing("%Y|%f|%g").unwrap().write(1_500), "1970|001500|001");
    }

    #[test]
    fn what_was_written_reads_back() {
        for format in ["%Y-%m-%d %H:%M:%S.%f", "%d/%b/%Y:%I:%M:%S.%f %p", "%A, %-d %B %Y, %T.%f", "%Y%j %X.%f"] {
            let (writing, reading) = (Format::for_writing(format).unwrap(), Format::for_reading(format).unwrap());
            for i in -300..300 {
                let ts = i * 77_777_777_777_777;
                assert_eq!(reading.read(&writing.write(ts)), Some(ts), "{format}");
            }
        }
    }

    #[test]
    fn texts_are_read_in_the_form_that_was_said() {
        let read = |format: &str, text: &str| Format::for_reading(format).unwrap().read(text);
        let time = |text: &str| crate::expr::time::parse_timestamp(text);
        assert_eq!(read("%d/%b/%Y:%H:%M:%S %z", "05/feb/2024:03:04:05 +0130"), time("2024-02-05T03:04:05+01:30"));
        assert_eq!(read("%Y-%m-%dT%H:%M:%S%z", "2024-02-05T03:04:05Z"), time("2024-02-05T03:04:05"));
        assert_eq!(read("%Y-%m-%d %z", "2024-02-05 -01"), time("2024-02-05T01:00:00"));
        assert_eq!(read("%Y-%m-%d", "2024-2-5"), time("2024-02-05"));
        assert_eq!(read("%y", "68"), time("2068-01-01"));
        assert_eq!(read("%y", "69"), time("1969-01-01"));
        assert_eq!(read("%I %p", "12 AM"), time("1900-01-01"));
        assert_eq!(read("%S.%f", "1.1234567"), time("1900-01-01T00:00:01.123456"));
        for (format, text) in [
            ("%Y-%m-%d", "2024-02-30"),
            ("%Y-%m-%d", "2024-02-05x"),
            ("%Y-%m-%d", " 2024-02-05"),
            ("%Y-%m-%d", "2024-02"),
            ("%H", "24"),
            ("%I", "0"),
            ("%S", "60"),
            ("%Y %j", "2023 366"),
            ("%Y", ""),
            ("%z", "+1"),
            ("%b", "Fe"),
            ("%b", "éé"),
            ("%f", ""),
        ] {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
    }

    #[test]
    fn other_codes_are_refused() {
        for format in ["%", "%-", "%q", "%-a", "%-%", "%z", "%-F"] {
            assert!(Format::for_writing(format).is_err(), "{format}");
        }
        assert!(Format::for_reading("%U").is_err());
    }
}
