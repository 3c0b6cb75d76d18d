//! Tests of the decoder: a table of odd inputs, serde_json and `str::parse` as oracles, and the law that batches do not
//! matter.

use engine::log::{Chunk, RawRecords};
use engine::plan::{Bindings, ColumnPlan, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom};
use engine::value::{DataType, Field};

use crate::format::{Encoded, codec, decode};
use crate::records::RawBuilder;

/// A column as in a pipeline file: `name: type!`.
pub(crate) fn column(text: &str) -> ColumnPlan {
    let (name, kind) = text.split_once(':').unwrap();
    let (name, kind) = (name.trim(), kind.trim());
    let data_type = DataType::parse(kind.trim_end_matches('!')).unwrap();
    ColumnPlan {
        field: Field { name: name.into(), data_type, nullable: !kind.ends_with('!') },
        from: ValueFrom::Path(vec![name.into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    }
}

/// A source of those columns, all needed; event time is `_timestamp`.
pub(crate) fn source(columns: Vec<ColumnPlan>) -> SourcePlan {
    SourcePlan {
        name: "test".into(),
        needed: columns.iter().map(|column| column.field.name.clone()).collect(),
        columns,
        format: "json".into(),
        event_time: "_timestamp".into(),
        out_of_orderness: 0,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
    }
}

fn records<V: AsRef<[u8]>>(values: &[V]) -> RawRecords {
    let mut builder = RawBuilder::new(0);
    for (i, value) in values.iter().enumerate() {
        builder.push(i as i64, 1_000 * i as i64, None, Some(value.as_ref()), Vec::new());
    }
    builder.finish()
}

/// Returns a decoded row as JSON text, or its reason.
fn shown(chunk: &Chunk, row: usize) -> String {
    if let Some(bad) = chunk.bad.iter().find(|bad| bad.row as usize == row) {
        return bad.reason.clone();
    }
    let mut out = Vec::new();
    super::write_row(&chunk.columns, row, &mut out);
    String::from_utf8(out).unwrap()
}

fn one(source: &SourcePlan, value: &str) -> String {
    shown(&decode(source, &records(&[value])).unwrap(), 0)
}

#[test]
fn a_record_becomes_a_row_and_the_row_the_same_record() {
    let source = source(
        ["a: int64!", "b: string", "c: float64", "d: timestamp", "e: decimal(5,2)", "f: binary", "g: date", "h: bool"]
            .map(column)
            .into(),
    );
    let text = r#"{"a":1,"b":"x\n\"é","c":1.5,"d":"1969-12-31T23:59:59.999999Z","e":"-1.20","f":"AAE=","g":"2024-02-29","h":true}"#;
    assert_eq!(one(&source, text), text);
    let chunk = decode(&source, &records(&[text])).unwrap();
    let mut record = Encoded::default();
    codec(&source).unwrap().encode(&chunk.columns, 0, &mut record).unwrap();
    assert_eq!(String::from_utf8(record.value.unwrap()).unwrap(), text);
}
