//! Schedules as written. They are no part of a plan, so what they mean is understood at once.

use chrono::{DateTime, NaiveDate};
use engine::Code;
use engine::schedule::{self, CatchUp, Cron, Hook, Overlap, Reprocess, Retry, Schedule};

use crate::fields::{self, Block};
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed};
use crate::suggest::did_you_mean;
use crate::yaml::{Entry, Kind, Scalar};

/// How long after a failure a run is repeated when the file does not say.
const BACKOFF: i64 = 60_000_000;

/// Reads a schedule. Reports what is wrong; None when it is not whole.
pub(super) fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Schedule> {
    let before = problems.errors.len();
    let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
    fields.text("description", problems);
    let cron = read_cron(&fields, problems);
    let reprocess = read_reprocess(&fields, problems);
    let catch_up = read_catch_up(&fields, problems).unwrap_or(CatchUp::Latest);
    let overlap = fields.choice("overlap", problems).map_or(Overlap::Skip, |word| match word.value {
        "queue" => Overlap::Queue,
        "cancel_running" => Overlap::CancelRunning,
        _ => Overlap::Skip,
    });
    let retry = fields.entry("retry").and_then(|entry| read_retry(entry, problems));
    let jitter = fields.duration("jitter", problems);
    let verify = fields.choice("then", problems).is_some();
    let [on_success, on_failure] =
        ["on_success", "on_failure"].map(|name| fields.entry(name).and_then(|entry| read_hook(entry, problems)));
    let (cron, reprocess) = (cron?, reprocess?);
    if let Some(jitter) = &jitter {
        check_jitter(jitter, &cron, problems);
    }
    (problems.errors.len() == before).then(|| Schedule {
        name: entry.key.text.clone(),
        cron,
        reprocess,
        catch_up,
        overlap,
        retry,
        jitter: jitter.map_or(0, |jitter| jitter.value),
        verify,
        on_success,
        on_failure,
    })
}

fn read_cron(fields: &Fields<'_>, problems: &mut Problems) -> Option<Cron> {
    let line = fields.some_text("cron", problems);
    let zone = fields.some_text("timezone", problems).and_then(|name| match schedule::zone(&name.text) {
        Ok(zone) => Some(zone),
        Err((message, help)) => {
            problems.error(Code::Field, name.span, message, "not the time zone of a place").help = Some(help);
            None
        }
    });
    let line = line?;
    // What is wrong with the line does not depend on the zone.
    let cron = Cron::parse(&line.text, zone.unwrap_or_default()).map_err(|why| {
        let message = format!("`cron: {}` is not a line of cron: {why}", line.shown());
        problems.error(Code::Field, line.span, message, "not a line of cron").help =
            Some(match line.text.split_whitespace().count() {
                6 | 7 => "there are no seconds and no years here: write minute, hour, day of the month, month, weekday"
                    .into(),
                _ => "write minute, hour, day of the month, month, weekday, such as `15 3 * * *`".into(),
            });
    });
    let cron = cron.ok().filter(|cron| {
        let fires = cron.after(0).is_some();
        if !fires {
            let message = format!("`cron: {}` never fires", line.shown());
            problems.error(Code::Field, line.span, message, "no day is like this").help =
                Some("look at its day of the month and its month: there is no 30 February".into());
        }
        fires
    });
    zone.and(cron)
}

fn read_reprocess(fields: &Fields<'_>, problems: &mut Problems) -> Option<Reprocess> {
    let entry = fields.entry("reprocess")?;
    let Kind::Mapping(_) = &entry.value.kind else {
        let word = fields.text("reprocess", problems)?;
        match word.text.as_str() {
            "previous_interval" => return Some(Reprocess::PreviousInterval),
            "stale" => return Some(Reprocess::Stale),
            _ => unknown_word("reprocess", &word, fields::REPROCESS_WORDS, "{last: 2d}", problems),
        }
        return None;
    };
    let inner = Fields::open(&entry.value, entry.key.span, &fields::REPROCESS, problems)?;
    let last = inner.duration("last", problems);
    let [from, to] =
        ["from", "to"].map(|name| inner.text(name, problems).and_then(|time| read_time(name, &time, problems)));
    match (inner.entry("last"), inner.entry("from"), inner.entry("to")) {
        (Some(_), None, None) => {
            let last = last?;
            if last.value > 0 {
                return Some(Reprocess::Last(last.value));
            }
            empty(last.span, "`last: 0s` is an interval without length", problems);
            None
        }
        (None, Some(_), Some(_)) => {
            let (from, to) = (from?, to?);
            if from.value < to.value {
                return Some(Reprocess::Range { from: from.value, to: to.value });
            }
            empty(to.span, "`to` is not after `from`, so there is nothing between", problems);
            None
        }
        _ => {
            problems
                .error(Code::Field, entry.key.span, "`reprocess` takes `last`, or both `from` and `to`", "not an interval")
                .help = Some("write `reprocess: {last: 2d}`, `reprocess: {from: \"2026-01-01\", to: \"2026-02-01\"}` or `reprocess: previous_interval`".into());
            None
        }
    }
}

fn empty(span: Span, message: &str, problems: &mut Problems) {
    problems.error(Code::Field, span, message, "nothing to reprocess");
}

fn read_time(name: &str, scalar: &Scalar, problems: &mut Problems) -> Option<Placed<i64>> {
    let date = scalar.text.parse::<NaiveDate>().ok();
    let midnight = date.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|time| time.and_utc().timestamp_micros());
    let time = || DateTime::parse_from_rfc3339(&scalar.text).ok().map(|time| time.timestamp_micros());
    let found = midnight.or_else(time);
    if found.is_none() {
        let message = format!("`{name}: {}` is neither an RFC 3339 time nor a date", scalar.shown());
        problems.error(Code::Field, scalar.span, message, "not a time").help =
            Some("write `\"2026-11-20\"`, or `\"2026-11-20T15:00:00Z\"` with its offset".into());
    }
    found.map(|time| Placed::new(time, scalar.span))
}

fn read_catch_up(fields: &Fields<'_>, problems: &mut Problems) -> Option<CatchUp> {
    let entry = fields.entry("catch_up")?;
    let Kind::Mapping(_) = &entry.value.kind else {
        let word = fields.text("catch_up", problems)?;
        match word.text.as_str() {
            "none" => return Some(CatchUp::None),
            "latest" => return Some(CatchUp::Latest),
            "all" => return Some(CatchUp::All { max: CatchUp::MOST }),
            _ => unknown_word("catch_up", &word, fields::CATCH_UP_WORDS, "{all: {max: 7}}", problems),
        }
        return None;
    };
    let inner = Fields::open(&entry.value, entry.key.span, &fields::CATCH_UP, problems)?;
    let all = inner.entry("all")?;
    let all = Fields::open(&all.value, all.key.span, &fields::CATCH_UP_ALL, problems)?;
    let max = all.count("max", problems)?;
    if max.value > CatchUp::MOST as u64 {
        let message = format!("`max` is at most {}", CatchUp::MOST);
        problems.error(Code::Field, max.span, message, "too many");
    }
    Some(CatchUp::All { max: max.value.min(CatchUp::MOST as u64) as usize })
}

fn unknown_word(name: &str, word: &Scalar, words: &[&'static str], map: &str, problems: &mut Problems) {
    let help = did_you_mean(word.shown(), &format!("`{name}` is one of"), words.iter().copied());
    problems.error(Code::Field, word.span, format!("`{name}` is `{}`", word.shown()), "not one of the words").help =
        Some(format!("{help}, or a map such as `{map}`"));
}

fn read_retry(entry: &Entry, problems: &mut Problems) -> Option<Retry> {
    let fields = Fields::open(&entry.value, entry.key.span, &fields::RETRY, problems)?;
    let times = fields.count("times", problems);
    let backoff = fields.duration("backoff", problems);
    for kind in fields.texts("on", problems).unwrap_or_default() {
        if kind.text != "environment" {
            let message = format!("a run is not repeated on `{}`", kind.shown());
            problems.error(Code::Field, kind.span, message, "would fail again").help = Some(
                "only what the environment let fail (exit code 4) may go well the next time: `on: [environment]`"
                    .into(),
            );
        }
    }
    let times = times?;
    if times.value > 100 {
        problems.error(Code::Field, times.span, "`times` is at most 100", "too often");
    }
    Some(Retry { times: times.value.min(100) as u32, backoff: backoff.map_or(BACKOFF, |backoff| backoff.value) })
}

fn read_hook(entry: &Entry, problems: &mut Problems) -> Option<Hook> {
    let fields = Fields::open(&entry.value, entry.key.span, &fields::HOOK, problems)?;
    match (fields.entry("command"), fields.entry("webhook")) {
        (Some(command), None) => {
            let words: Vec<String> = fields.texts("command", problems)?.into_iter().map(|word| word.text).collect();
            if words.first().is_none_or(|program| program.trim().is_empty()) {
                problems.error(Code::Field, command.key.span, "`command` names no program", "nothing to start").help =
                    Some("write it like `command: [notify, --channel, data]`".into());
                return None;
            }
            Some(Hook::Command(words))
        }
        (None, Some(_)) => {
            let url = fields.some_text("webhook", problems)?;
            if !url.text.starts_with("https://") && !url.text.starts_with("http://") {
                let message = format!("`webhook: {}` is not an address of the web", url.shown());
                problems.error(Code::Field, url.span, message, "not `http://` or `https://`");
                return None;
            }
            Some(Hook::Webhook(url.text))
        }
        _ => {
            let message = format!("`{}` takes either `command` or `webhook`", entry.key.text);
            problems.error(Code::Field, entry.key.span, message, "not one of the two");
            None
        }
    }
}

/// A run that begins after the next firing would be a run of that one.
fn check_jitter(jitter: &Placed<i64>, cron: &Cron, problems: &mut Problems) {
    // The shortest pause between firings is seen within a year's first ones.
    let firings: Vec<i64> = cron.between(0, i64::MAX).take(200).collect();
    let Some(pause) = firings.windows(2).map(|pair| pair[1] - pair[0]).min() else { return };
    if jitter.value >= pause {
        let message =
            format!("`jitter` is not shorter than the time between two firings, {}", crate::duration::format(pause));
        problems.error(Code::Field, jitter.span, message, "too long");
    }
}
