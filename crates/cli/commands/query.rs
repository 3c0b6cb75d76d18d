//! `samestream query`: SQL over results, lakes, late and bad records.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use analysis::Table;
use clap::Args;
use engine::{Code, Error, Result};

use crate::commands::analysis_error;
use crate::global::Global;
use crate::output;

/// Ask SQL of result sets and lakes
///
/// A table is a file of Parquet, JSON lines or CSV, or a folder of such files (a sink's folder, a lake).
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream query data/out/page_views\n  \
    samestream query 'select page, sum(views) as views from page_views group by page' data/out/page_views\n  \
    samestream query 'select count(*) from a join b using (id)' a=left.parquet b=right.csv --format csv")]
pub(crate) struct Arguments {
    /// The query; `-` reads it from standard input; the path of a table alone shows the table
    sql: String,
    /// Tables, as NAME=PATH or as a path whose last part is the name
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let mut tables = arguments.tables.iter().map(|text| table(text)).collect::<Result<Vec<Table>>>()?;
    let sql = match arguments.sql.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Error::io("cannot read standard input", error))?;
            text
        }
        path if Path::new(path).exists() => {
            tables.push(Table { name: "result".into(), path: PathBuf::from(path) });
            "select * from result".into()
        }
        sql => sql.to_string(),
    };
    let frame = analysis::query(&sql, &tables).map_err(analysis_error)?;
    output::frame(&frame, global)
}

fn table(text: &str) -> Result<Table> {
    if let Some((name, path)) = text.split_once('=') {
        return Ok(Table { name: name.to_string(), path: PathBuf::from(path) });
    }
    let path = PathBuf::from(text);
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
    match name {
        Some(name) if path.exists() => Ok(Table { name, path }),
        _ => Err(Error::new(Code::NotFound, format!("there is no table at `{text}`"))
            .help("a table is NAME=PATH, or the path of a file or folder of Parquet, JSON lines or CSV")),
    }
}
