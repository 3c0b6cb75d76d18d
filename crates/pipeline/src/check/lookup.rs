//! Lookups: which columns must be equal, and what the file adds: its columns, and expressions over them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use engine::expr::Expr;
use engine::lookup::LookupTable;
use engine::plan::LookupPlan;
use engine::{Code, DataType, Field};

use super::expression::{expression, has_type, unknown_column};
use super::relation::{Column, Relation, Rows};
use super::step::check_output_name;
use crate::problems::Problems;
use crate::spec::LookupSpec;
use crate::table::{self, Table};
use crate::yaml::Scalar;

/// Reads the file of a lookup and checks it against the rows; they have its columns from then on.
pub(super) fn check_lookup(spec: &LookupSpec, over: &mut Relation, problems: &mut Problems) -> Option<LookupPlan> {
    let table = match table::read(&spec.file.text) {
        Ok(table) => table,
        Err(error) => {
            problems.error(error.code, spec.file.span, error.message, "of this lookup").help = error.help;
            return None;
        }
    };
    let on: Vec<_> = spec.on.iter().map(|pair| check_on(pair, &table, over, problems)).collect();
    let take: Vec<_> = spec.take.iter().map(|pair| check_take(pair, spec, &table, over, problems)).collect();
    let on = on.into_iter().collect::<Option<Vec<_>>>()?;
    let take = take.into_iter().collect::<Option<Vec<_>>>()?;
    let types: Vec<DataType> = on.iter().map(|(_, expr, _)| expr.data_type()).collect();
    let keys: Vec<ArrayRef> = on.iter().map(|(.., values)| values.clone()).collect();
    let values = take.iter().map(|(.., values)| values.clone()).collect();
    let index = match LookupTable::new(&types, &keys, values) {
        Ok(index) => index,
        Err((first, second)) => {
            let message = format!("{} has one key twice, in its rows {} and {}", spec.file.text, first + 1, second + 1);
            problems.error(Code::Field, spec.file.span, message, "not a table with one row per key").help =
                Some("name more columns in `on`, or leave one row of each key in the file".into());
            return None;
        }
    };
    for (field, ..) in &take {
        over.put(&field.name, field.data_type, true);
    }
    Some(LookupPlan {
        file: spec.file.text.clone(),
        digest: table.digest,
        keys: on.into_iter().map(|(name, expr, _)| (name, expr)).collect(),
        taken: take.iter().map(|(_, name, _)| name.clone()).collect(),
        take: take.into_iter().map(|(field, ..)| field).collect(),
        missing: spec.missing,
        table: Arc::new(index),
    })
}

/// Finds a column of the file.
fn find<'a>(name: &Scalar, table: &'a Table, problems: &mut Problems) -> Option<(DataType, &'a ArrayRef)> {
    let found = table.columns.iter().find(|(column, ..)| *column == name.text);
    if found.is_none() {
        let names: Vec<&str> = table.columns.iter().map(|(name, ..)| name.as_str()).collect();
        unknown_column(name, &names, problems);
    }
    found.map(|(_, data_type, values)| (*data_type, values))
}

/// Returns the file's column, the row's value that it must equal, and its values in the type of both.
fn check_on(
    (column, in_file): &(Scalar, Scalar),
    table: &Table,
    over: &Relation,
    problems: &mut Problems,
) -> Option<(String, Expr, ArrayRef)> {
    let Some(field) = over.column(&column.text).map(|column| &column.field) else {
        unknown_column(column, &over.names(), problems);
        return None;
    };
    let (data_type, values) = find(in_file, table, problems)?;
    let own = Expr::column(&field.name, field.data_type);
    let mut misfit = |message: String, help: &str| {
        problems.error(Code::Type, in_file.span, message, "does not fit").help = Some(help.to_owned());
    };
    // Text of a CSV file is read as the type of the row's value; other types must be the same.
    let differ = format!("`{}` is {}, the file's `{}` is {data_type}", field.name, field.data_type, in_file.text);
    if field.data_type != data_type && data_type != DataType::String {
        misfit(differ, "make a column of the file's type with `derive: {NAME: \"cast(… as …)\"}` first");
        return None;
    }
    let Ok(cast) = Expr::cast(Expr::column("key", data_type), field.data_type, false) else {
        misfit(differ, "no text of the file can be read as such a value");
        return None;
    };
    let batch = RecordBatch::try_from_iter_with_nullable([("key", values.clone(), true)]).expect("one column");
    let read = cast.evaluate(&batch);
    if let Some((row, reason)) = read.failures.first() {
        misfit(format!("row {} of the file: {reason}", row + 1), "the column must hold such values only");
        return None;
    }
    Some((in_file.text.clone(), own, read.values))
}

/// Returns the column to add, its name in the file, and its values.
fn check_take(
    (name, in_file): &(Scalar, Scalar),
    spec: &LookupSpec,
    table: &Table,
    over: &Relation,
    problems: &mut Problems,
) -> Option<(Field, String, ArrayRef)> {
    let (data_type, taken, values) = value_of(name, in_file, table, problems)?;
    let before = spec.take.iter().map(|(name, _)| name).take_while(|other| !std::ptr::eq(*other, name));
    let mut seen: Vec<&str> = before.map(|name| name.text.as_str()).collect();
    seen.extend(over.names());
    let any = Expr::column(&taken, data_type);
    // A column of the file is never the row's column of the same name.
    if seen.contains(&name.text.as_str()) {
        problems
            .error(Code::Name, name.span, format!("there is a column `{}` already", name.text), "this name is taken")
            .help = Some(format!("give it another name: `take: [{{NAME: {}}}]`", in_file.shown()));
        return None;
    }
    let is_named = !crate::read::is_name(&name.text);
    if is_named {
        problems.error(Code::Name, name.span, format!("`{}` is not a column name", name.shown()), "not a name").help =
            Some(format!("give it one: `take: [{{NAME: {}}}]`", in_file.text));
        return None;
    }
    if !check_output_name(name, Some(&any), &[], over.is_windows(), problems) {
        return None;
    }
    Some((Field::new(&name.text, data_type), taken, values))
}

/// Returns what is taken: a column of the file by its whole name, or else what an expression over its columns gives.
/// Also returns how it is written in the definition.
fn value_of(
    name: &Scalar,
    written: &Scalar,
    table: &Table,
    problems: &mut Problems,
) -> Option<(DataType, String, ArrayRef)> {
    let is_bare = name.span == written.span;
    if is_bare && !is_column(&written.text, table) && !crate::read::is_name(&written.text) {
        let message = format!("there is no column `{}` in the file", written.shown());
        problems.error(Code::Name, written.span, message, "not a column of the file").help =
            Some(format!("an expression needs a name: `take: [{{NAME: \"{}\"}}]`", written.shown()));
        return None;
    }
    if is_bare || is_column(&written.text, table) || crate::read::is_name(&written.text) {
        let (data_type, values) = find(written, table, problems)?;
        return Some((data_type, written.text.clone(), values.clone()));
    }
    let expr = expression(written, &relation(table), problems)?;
    let expr = has_type(expr, name, written.span, problems)?;
    let mut columns: Vec<(&str, ArrayRef, bool)> = Vec::new();
    for (name, _, values) in &table.columns {
        if columns.iter().all(|(known, ..)| known != name) {
            columns.push((name, values.clone(), true));
        }
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of a file have one length");
    let read = expr.evaluate(&batch);
    if let Some((row, reason)) = read.failures.first() {
        let message = format!("row {} of the file: {reason}", row + 1);
        problems.error(Code::Expression, written.span, message, "does not fit the file").help =
            Some("it is evaluated for every row of the file; `try_cast(… as …)` gives null where nothing fits".into());
        return None;
    }
    Some((expr.data_type(), expr.to_string(), read.values))
}

fn is_column(name: &str, table: &Table) -> bool {
    table.columns.iter().any(|(column, ..)| column == name)
}

/// Returns what an expression over the file sees.
fn relation(table: &Table) -> Relation {
    let mut columns: Vec<Column> = Vec::new();
    for (name, data_type, _) in &table.columns {
        if columns.iter().all(|column| column.field.name != *name) {
            columns.push(Column { field: Field::new(name, *data_type), implied: false });
        }
    }
    let (sources, identity) = (Vec::new(), Vec::new());
    Relation { columns, sources, rows: Rows::Records, identity, is_indexed: false, lacks_timestamp: false }
}
