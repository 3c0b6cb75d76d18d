//! From a path to rows: Parquet is scanned lazily, text files are read and their types found.

use std::path::{Path, PathBuf};

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::files::{FileKind, table_files};
use crate::text;

/// Returns the rows of a table; None for a folder that holds no file yet.
pub(crate) fn load(path: &Path) -> Result<Option<LazyFrame>> {
    let (kind, files) = table_files(path)?;
    if files.is_empty() {
        return Ok(None);
    }
    Ok(Some(match kind {
        FileKind::Parquet => scan_parquet(path, &files)?,
        FileKind::JsonLines => text::read_json_lines(&files)?.lazy(),
        FileKind::Csv => text::read_csv(&files)?.lazy(),
    }))
}

fn scan_parquet(path: &Path, files: &[PathBuf]) -> Result<LazyFrame> {
    let failed = |e: PolarsError| Error::Read { path: path.to_path_buf(), reason: e.to_string() };
    let paths = files.iter().map(|file| PlRefPath::try_from_path(file)).collect::<PolarsResult<Vec<_>>>();
    // A lake's `partition=P` folder repeats the column `_partition`: it must not become a second column.
    let arguments =
        ScanArgsParquet { hive_options: HiveOptions::new_disabled(), glob: false, ..ScanArgsParquet::default() };
    let mut frame =
        LazyFrame::scan_parquet_files(paths.map_err(failed)?.into_iter().collect(), arguments).map_err(failed)?;
    let schema = frame.collect_schema().map_err(failed)?;
    let columns: Vec<Expr> = schema.iter().map(|(name, data_type)| plain(name, data_type)).collect();
    Ok(frame.select(columns))
}

/// Times are UTC throughout, so the zone is taken off: Polars is built without its time-zone database.
fn plain(name: &str, data_type: &DataType) -> Expr {
    let column = col(name);
    match data_type {
        DataType::Datetime(unit, Some(_)) => {
            let naive = column.cast(DataType::Int64).cast(DataType::Datetime(*unit, None));
            naive.cast(DataType::Datetime(TimeUnit::Microseconds, None)).alias(name)
        }
        DataType::Datetime(unit, None) if *unit != TimeUnit::Microseconds => {
            column.cast(DataType::Datetime(TimeUnit::Microseconds, None)).alias(name)
        }
        _ => column,
    }
}
