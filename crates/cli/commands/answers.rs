//! What verbs answer: the text of `VERB --format help`.

const ROWS: &str = "\
auto      a table on a terminal, JSON lines in a pipe
table     a table with column names and a count of rows
json      one JSON array of objects
jsonl     one JSON object a line
csv       a line of column names, then the rows
markdown  a Markdown table
";
const NOTHING: &str = "nothing on standard output; what was done is said on stderr\n";

/// Returns what standard output of a verb looks like, by `--format`.
pub(crate) fn of(verb: &str) -> Option<String> {
    let text = match verb {
        "run" => "\
nothing on standard output, unless a sink is `stdout` or `--print` is given: then the rows, a table on a terminal
(and with `--format table`), JSON lines in a pipe (and with `json`, `jsonl`)
The run's summary is on stderr; `--summary FILE` writes it as JSON: `samestream schema summary`
",
        "verify" => "\
json      one object: `equal`, `different`, `stream` and `batch` (summaries: `samestream schema summary`),
          `stream_beyond`, `batch_beyond`, `rows` (by step, the rows that differ: `samestream schema diff`)
others    text: both summaries, the rows that differ, the cut, the verdict
",
        "diff" => "\
json      one object: `samestream schema diff`; of pipelines: `same`, `steps` (by step such an object), `only_left`,
          `only_right`, `other_keys`, `start`, `end`
others    text: a line for each different row (`~` changed, `-` only left, `+` only right), then the counts
",
        "query" => ROWS,
        "validate" => "\
json      one object: `files`, `warnings`
sarif     a SARIF 2.1.0 log of errors and warnings
github    a line for each error and warning, which GitHub's runners show in the file
others    a line for each file that is right
Else errors and warnings are on stderr; with `json` one object a line: `code`, `severity`, `message`, `file`, `start`, `end`, `help`
",
        "test" => "\
json      one object: `passed`, `failed`, `cases` (an array of `file`, `line`, `name`, `passed`, `ways`, `error`, `rows`:
          an array of `of`, `line`, `expected`, `found`, `columns`; `disagreements`: an array of `first`, `other`, `of`,
          `only_first`, `only_other`), `blessed`
others    a line for each case; of one that fails the rows: `~` different, `-` expected and not found, `+` found and not
          expected, `!` different between two ways of running
",
        "why" => "\
json      one object: `step`, `window_start`, `window_end`, `key`, `row`, `dropped`, `taken` and `left` (arrays of records:
          `source`, `partition`, `offset`; of window rows: `window_start`, `window_end`, `key`; and `event_time`, `columns`,
          `reason`, `parts`), `bad`, `start`, `end`
others    text: the row, what it is made of, what was left out and why
",
        "why-not" => "\
json      one object: `source`, `partition`, `offset`, `bad`, `event_time`, `largest_before`, `watermark`, `steps` (`step`,
          `fates`: arrays of `fate` (`out`, `on`, `late`, `in`) with `reason`, `window_start`, `window_end`, `key`, `final`)
others    text: a line for each step and window
",
        "lateness" => "\
json      one object: `sources` (`source`, `out_of_orderness`, `partitions`, `steps`: `step`, `reached`, `changed_are`,
          `bounds`: `bound`, `late`, `late_by_partition`, `changed`, `examples`), `start`, `end`, `notes`
others    text: a table for each step, the bound in the file with `*`
",
        "inspect" => "\
json      one object: `records`, `cut`, `not_objects`, `bad`, `columns` (`name`, `type`, `nullable`, `nulls`, `times`, `example`,
          `conflicts`), `left_out`, `event_time`, `partitions`, `disorder`, `out_of_orderness`, `sources` (the block)
others    YAML: what was found as comments, then the `sources:` block
",
        "state" => "\
list      json: an array of objects; jsonl: one a line; else text: `pipeline`, `number`, `pin`, `made_at`, `definition`,
          `offsets`, `rows_read`, `state_rows`, `state_bytes`, `parts`
show      json: one such object with `partitions`, `counts`, `state` (`step`, `parts`, `pieces`, `rows`, `bytes`), `outbox`,
          `sinks`, `logs`, `job`, `program`, `forked_from`; else text
others    json: one object (`pin`, `fork`: as of `list`; `export`: `files`; `clear`: `checkpoints`, `pins`); else nothing on
          standard output, what was done is said on stderr
",
        "backfill" => "\
nothing on standard output but with `--dry-run`; what is done is said on stderr, and `--summary FILE` writes it as JSON:
`samestream schema backfill`
json      with `--dry-run` one object: `pipeline`, `from`, `to`, `chunk`, `start`, `end`, `predicted`, `files`, `row_groups`,
          `goes_on_with`, `chunks` (an array of `number`, `from`, `to`, `done`, `predicted`); else on stderr an object for each chunk
others    text
",
        "runs" => "\
list      json: an array of runs (`samestream schema run`); jsonl: one a line; else text
show      json: one run; else text
logs      json: one object: `id`, `log`; else the text
retry     nothing on standard output but what the run writes there
prune     json: one object: `pruned`; else nothing on standard output, what was done is said on stderr
",
        "status" => "\
json      an array of objects: `samestream schema status`; jsonl: one a line
others    text: for each pipeline its last run, its next firing and, for each sink, a calendar of days, the worst range of each;
          then what is not final, with the reason
",
        "schedule" => "\
list      json: an array of objects: `pipeline`, `schedule`, `cron`, `timezone`, `next`, `next_local`, `paused`, `since`
next      the same of: `pipeline`, `schedule`, `local`, `timezone`, `due`, `begins`, `from`, `to`
history   the same of: `pipeline`, `schedule`, `due`, `local`, `decided`, `what`, `outcome`, `exit`, `runs`, `verified`, `from`, `to`
          of these three jsonl: one object a line; else text
pause     (and resume) json: one object: `pipeline`, `schedule`, `paused`; else nothing on standard output
start     (and trigger) nothing on standard output but what runs write there; what is done is said on stderr, with `json` one
          object a line: `pipeline`, `schedule`, `due`, `message`
",
        "plan" => "\
json      one object: the resolved plan
others    the plan as text; `--as text|json|dot` goes before
",
        "explain" => "\
json      an array of objects: `code`, `exit`, `explain`
others    two lines for each code
",
        "functions" => "\
json      an array of objects: `name`, `aliases`, `family`, `signature`, `help`, `sql`, `example`, `duckdb`, `flink`, `differs`,
          `constants`
others    Markdown: the reference page, or one entry of it
",
        "version" => "\
json      one object: `name`, `version`, `librdkafka`, `arrow`; with `--show-config` also `settings`, an array of
          `setting`, `value`, `from`, `verbs`
others    a line; with `--show-config` one more for each setting
",
        "demo" => "text, whatever the format: both summaries and the verdict\n",
        "schema" => "a JSON Schema, whatever the format\n",
        "completions" => "a script for the shell, whatever the format\n",
        "compact" => "\
json      one array of objects: `sink`, `path`, `files_before`, `bytes_before`, `files_after` and `bytes_after` (null with
          `--dry-run`), `files_joined`, `rows_joined`
others    nothing on standard output; what was done is said on stderr
",
        "init" | "archive" | "replay" | "append" | "gen" => NOTHING,
        _ => return None,
    };
    Some(format!("samestream {verb}\n{text}"))
}
