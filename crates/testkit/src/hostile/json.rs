//! Values of a topic: lines, each the value of a record.

use std::sync::OnceLock;

use arrow::compute::concat_batches;
use connectors::format::{Codec, Encoded, codec};
use connectors::records::RawBuilder;
use engine::log::{Chunk, RawRecords};
use engine::plan::SourcePlan;

use super::{plan, records};

/// Decodes all lines at once and each alone, and what is good again from its own text.
pub(super) fn run(bytes: &[u8]) {
    let (_, codec) = source();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(200).collect();
    let whole = codec.decode(&raw(&lines));
    assert_eq!(whole.len(), lines.len());
    for (row, line) in lines.iter().enumerate() {
        let alone = codec.decode(&raw(&[line]));
        let reason = |chunk: &Chunk, row: usize| {
            chunk.bad.iter().find(|bad| bad.row as usize == row).map(|bad| (bad.reason.clone(), bad.raw.clone()))
        };
        let bad = reason(&whole, row);
        assert_eq!(bad, reason(&alone, 0), "neighbours change nothing");
        assert_eq!(whole.columns.slice(row, 1), alone.columns, "neighbours change nothing");
        if let Some((reason, raw)) = bad {
            assert!(!reason.is_empty() && raw.as_deref() == Some(line));
            continue;
        }
        let mut written = Encoded::default();
        codec.encode(&alone.columns, 0, &mut written).expect("what was read can be written");
        let mut builder = RawBuilder::new(0);
        builder.push(0, 0, written.key.as_deref(), written.value.as_deref(), written.headers);
        let again = codec.decode(&builder.finish());
        assert!(again.bad.is_empty(), "{:?}", again.bad);
        assert_eq!(again.columns, alone.columns, "what is written reads back");
    }
    let parts: Vec<_> = (0..lines.len()).map(|row| whole.columns.slice(row, 1)).collect();
    assert_eq!(concat_batches(&whole.columns.schema(), &parts).expect("one schema"), whole.columns);
}

fn source() -> &'static (SourcePlan, Box<dyn Codec>) {
    static SOURCE: OnceLock<(SourcePlan, Box<dyn Codec>)> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let mut source = plan("lake").sources[0].clone();
        source.needed = source.columns.iter().map(|column| column.field.name.clone()).collect();
        let codec = codec(&source).expect("the format is known");
        (source, codec)
    })
}

/// Records of these values. The key is the first bytes of the value, so that it is sometimes no text.
pub(super) fn raw(lines: &[&[u8]]) -> RawRecords {
    let mut builder = RawBuilder::new(0);
    for (offset, line) in (0..).zip(lines) {
        builder.push(offset, 1_767_225_600_000, Some(&line[..line.len().min(3)]), Some(line), Vec::new());
    }
    builder.finish()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = records().into_iter().map(String::into_bytes).collect();
    seeds.push(records()[..3].join("\n").into_bytes());
    // So that every third input or so has neighbours.
    (0..20).for_each(|_| seeds.push(records()[25..].join("\n").into_bytes()));
    seeds.push([&b"["[..]; 100].concat());
    seeds.push(format!(r#"{{"id":"a","at":{}1}}"#, "1".repeat(70)).into_bytes());
    seeds
}
