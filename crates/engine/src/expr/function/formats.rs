//! `strftime` and `strptime`: times as texts of any form. The codes are in `time_text`.

use arrow::array::ArrayRef;
use arrow::datatypes::TimestampMicrosecondType;

use super::each::{maybe_times, texts};
use super::time_text::Format;
use super::{Argument, Family, Function, Kernel, Signature, Slot, takes, written};
use crate::expr::operand::Call;
use crate::value::DataType;

const BASE: Function = super::base(Family::Time);

const FORMATS: &[&str] = &["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%d %b %Y"];

pub(super) static STRFTIME: Function = Function {
    name: "strftime",
    help: "The time in UTC as a text: `%Y` year, `%m` month, `%d` day, `%H` hour, `%M` minute, `%S` second, `%f` microseconds; also `%y %b %B %j %a %A %w %u %I %p %g %G %V %U %W %F %T %x %X %c %%`, and `%-d` without zeros",
    signature: "(timestamp, format string) → string",
    types: |arguments| {
        let signature = takes(arguments, &STRFTIME, &[Slot::Time, Slot::Text], 2, DataType::String)?;
        Format::for_writing(written(arguments, 1).unwrap_or_default())?;
        Ok(signature)
    },
    kernel: Kernel::Rows(|call| {
        let ts = call.numbers::<TimestampMicrosecondType>(0);
        let format = Format::for_writing(call.texts(1).value(0)).expect("the types were checked");
        texts(call, |row| Ok(format.write(ts.value(row))))
    }),
    sql: "strftime({0}, {1})",
    duckdb: "strftime({0}, {1})",
    differs: "Flink's `DATE_FORMAT` has Java's patterns; DuckDB does not know `%e`, `%F` and `%T`, and writes a zone",
    constants: &[(1, FORMATS)],
    example: ("strftime(timestamp '2026-08-09T13:14:15Z', '%a %-d %B, %I:%M %p')", "Sun 9 August, 01:14 PM"),
    ..BASE
};

pub(super) static STRPTIME: Function = Function {
    name: "strptime",
    help: "The time that a text says in a form with the codes of `strftime`, and `%z` for a zone's offset; without one it is UTC. What it does not say is 1900-01-01T00:00:00; another form fails the row",
    signature: "(string, format string) → timestamp",
    types: |arguments| reading(arguments, &STRPTIME),
    kernel: Kernel::Rows(|call| read(call, false)),
    sql: "strptime({0}, {1})",
    duckdb: "strptime({0}, {1})",
    differs: "DuckDB skips spaces at both ends; Flink's `TO_TIMESTAMP` has Java's patterns",
    constants: &[(1, FORMATS)],
    example: ("strptime('09/Aug/2026:13:14:15 +0200', '%d/%b/%Y:%H:%M:%S %z')", "2026-08-09T11:14:15.000000Z"),
    ..BASE
};

pub(super) static TRY_STRPTIME: Function = Function {
    name: "try_strptime",
    help: "As `strptime`, or null for a text of another form",
    signature: "(string, format string) → timestamp",
    types: |arguments| reading(arguments, &TRY_STRPTIME),
    kernel: Kernel::Rows(|call| read(call, true)),
    sql: "try_strptime({0}, {1})",
    duckdb: "try_strptime({0}, {1})",
    differs: "DuckDB skips spaces at both ends",
    constants: &[(1, FORMATS)],
    example: ("coalesce(try_strptime('31.2.2026', '%d.%m.%Y'), timestamp '2026-01-01')", "2026-01-01T00:00:00.000000Z"),
    ..BASE
};

fn reading(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    let signature = takes(arguments, function, &[Slot::Text, Slot::Text], 2, DataType::Timestamp)?;
    Format::for_reading(written(arguments, 1).unwrap_or_default())?;
    Ok(signature)
}

fn read(call: &mut Call<'_>, or_null: bool) -> ArrayRef {
    let (text, written) = (call.texts(0), call.texts(1).value(0));
    let format = Format::for_reading(written).expect("the types were checked");
    maybe_times(call, |row| match format.read(text.value(row)) {
        None if !or_null => {
            let text: String = text.value(row).chars().take(60).collect();
            Err(format!("strptime: '{text}' is no time of the form '{written}'").into())
        }
        time => Ok(time),
    })
}
