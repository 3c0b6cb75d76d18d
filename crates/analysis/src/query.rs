//! SQL over result sets and lakes.

use std::path::PathBuf;

use polars::prelude::*;
use polars::sql::SQLContext;

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::load::load;

/// A name that SQL may use, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name, such as `page_views` or `clicks.bad`.
    pub name: String,
    /// A file of rows, or a folder of such files.
    pub path: PathBuf,
}

/// Answers an SQL query over the tables that it names. A table that the query does not name is not opened.
///
/// A name with a dot may be written as it is (`from clicks.bad`) or in quotes. The first of two tables of one name is
/// meant.
pub fn query(sql: &str, tables: &[Table]) -> Result<Frame> {
    let mut context = SQLContext::new();
    let mut text = sql.to_string();
    let mut unread = None;
    // Dotted names first: `clicks.bad` is not a use of `clicks`.
    let is_first = |number: &usize| !tables[..*number].iter().any(|other| other.name == tables[*number].name);
    let mut ordered: Vec<(usize, &Table)> = tables.iter().enumerate().filter(|(number, _)| is_first(number)).collect();
    ordered.sort_by_key(|(_, table)| !table.name.contains('.'));
    for (number, table) in ordered {
        if positions(&text, &table.name).next().is_none() {
            continue;
        }
        let name = if table.name.contains('.') {
            // Polars looks at the first part of a dotted name only.
            let plain = format!("_table_{number}");
            text = replace_name(&text, &table.name, &plain);
            plain
        } else {
            table.name.clone()
        };
        match open(table) {
            Ok(rows) => context.register(&name, rows),
            // The name may be that of a column: it is an error only if the query fails.
            Err(e) => unread = unread.or(Some(e)),
        }
    }
    let wrong = |e: PolarsError| Error::Sql(explain(&e, tables));
    let frame = match (context.execute(&text), unread) {
        (Ok(frame), _) => frame,
        (Err(_), Some(unread)) => return Err(unread),
        (Err(e), None) => return Err(wrong(e)),
    };
    Ok(Frame::new(frame.collect().map_err(wrong)?))
}

fn open(table: &Table) -> Result<LazyFrame> {
    load(&table.path)?.ok_or_else(|| Error::NotATable {
        path: table.path.clone(),
        reason: format!("holds no rows yet, so `{}` has no columns", table.name),
    })
}

fn positions<'a>(sql: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    sql.match_indices(name).map(|(at, _)| at).filter(move |at| {
        let before = sql[..*at].chars().next_back();
        let after = sql[at + name.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

/// Replaces a dotted name, in quotes or not, where it stands as a table; columns behind it keep working.
fn replace_name(sql: &str, name: &str, plain: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut done = 0;
    for at in positions(sql, name) {
        let end = at + name.len();
        let quoted = sql[..at].ends_with('"') && sql[end..].starts_with('"');
        let (start, end) = if quoted { (at - 1, end + 1) } else { (at, end) };
        out.push_str(&sql[done..start]);
        out.push_str(plain);
        done = end;
    }
    out.push_str(&sql[done..]);
    out
}

fn explain(error: &PolarsError, tables: &[Table]) -> String {
    // What follows the first line is Polars' plan, of no help to who wrote the SQL.
    let message = error.to_string();
    let hint = message.lines().find_map(|line| line.trim().strip_prefix("Did you mean "));
    let mut message = message.lines().next().unwrap_or_default().to_string();
    if let Some(hint) = hint {
        message.push_str(&format!("; did you mean {hint}"));
    }
    if message.contains("was not found") && message.contains("relation") {
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        message.push_str(&format!("; tables here: {known}"));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;

    fn table(name: &str, path: &std::path::Path) -> Table {
        Table { name: name.into(), path: path.into() }
    }

    fn write(path: &std::path::Path, frame: &mut DataFrame) {
        ParquetWriter::new(std::fs::File::create(path).unwrap()).finish(frame).unwrap();
    }

    fn sample(days: &[i64]) -> DataFrame {
        let time = Int64Chunked::from_iter_values("t".into(), days.iter().map(|day| day * 86_400_000_000));
        let time = time.into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)).into_series();
        let page = Series::new("page".into(), days.iter().map(|day| format!("/p{day}")).collect::<Vec<_>>());
        DataFrame::new(days.len(), vec![time.into_column(), page.into_column()]).unwrap()
    }

    #[test]
    fn a_folder_is_read_whole_and_times_are_utc() {
        let folder = tempfile::tempdir().unwrap();
        for (partition, days) in [(0, vec![1, 2]), (1, vec![3])] {
            let inner = folder.path().join(format!("partition={partition}"));
            std::fs::create_dir(&inner).unwrap();
            write(&inner.join("00000000000000000000.parquet"), &mut sample(&days));
        }
        let tables = [table("clicks", folder.path()), table("absent", std::path::Path::new("/no/such"))];
        let frame =
            query("select * from clicks where t >= timestamp '1970-01-03 00:00:00' order by t", &tables).unwrap();
        assert_eq!(frame.names(), ["t", "page"]);
        assert_eq!(frame.types(), ["timestamp", "string"]);
        let cells: Vec<String> = (0..frame.len()).map(|row| frame.cell(0, row).text()).collect();
        assert_eq!(cells, ["1970-01-03T00:00:00.000000Z", "1970-01-04T00:00:00.000000Z"]);
    }

    #[test]
    fn a_dotted_name_is_a_table() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a.parquet"), &mut sample(&[5]));
        let tables = [table("clicks.bad", folder.path())];
        for sql in
            ["select count(*) as n from clicks.bad", "select count(*) as n from \"clicks.bad\" b where b.page <> ''"]
        {
            let frame = query(sql, &tables).unwrap();
            assert!(matches!(frame.cell(0, 0), Cell::Int(1)), "{sql}");
        }
    }

    #[test]
    fn a_wrong_column_is_told_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a.parquet"), &mut sample(&[5]));
        let message = query("select pag from a", &[table("a", folder.path())]).unwrap_err().to_string();
        assert!(message.contains("pag") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn an_unknown_table_lists_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let message = query("select * from nope", &[table("clicks", folder.path())]).unwrap_err().to_string();
        assert!(message.contains("nope") && message.contains("clicks"), "{message}");
    }
}
