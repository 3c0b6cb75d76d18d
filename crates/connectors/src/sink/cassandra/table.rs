//! The table of a sink in Cassandra: its statements, and whether one that is there fits.
//!
//! Names go into statements only from a whitelist, and quoted; values never do.

use engine::plan::SinkPlan;
use engine::{Code, DataType, Error, Result};

use crate::sink::rows::{FINAL, WINDOW_START};
use crate::sink::sql::{is_plain, quoted};

/// Bytes of the name of a keyspace or table at most.
const NAME_BYTES: usize = 48;

/// How times are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// As Cassandra's own type, which has milliseconds.
    Millis,
    /// As a number of microseconds since 1970.
    Micros,
}

/// A sink's table as it should be.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) keyspace: String,
    pub(super) name: String,
    /// Names and types of the columns, `final` last.
    pub(super) columns: Vec<(String, &'static str)>,
    /// Indexes of the columns that name a row.
    pub(super) identity: Vec<usize>,
    /// How times are stored.
    pub(super) times: Times,
}

impl Table {
    /// Makes it of a sink's plan; refuses what Cassandra cannot hold.
    pub(super) fn new(plan: &SinkPlan, setting: &str, times: Times) -> Result<Self> {
        let refused = |code: Code, what: String| Error::new(code, format!("sink `{}`: {what}", plan.name));
        let Some((keyspace, name)) = setting.split_once('.').filter(|(a, b)| is_plain_name(a) && is_plain_name(b))
        else {
            return Err(refused(Code::Name, "`table` is not the plain name of a table in a keyspace".into()).help(
                "it is `KEYSPACE.NAME`, of letters, digits and `_`, not beginning with a digit, up to 48 characters each",
            ));
        };
        if let Some(field) = plan.schema.fields.iter().find(|field| !field.name.split('.').all(is_plain_name)) {
            return Err(refused(Code::Name, format!("Cassandra is given no column `{}`", field.name)).help(
                "names of columns have letters, digits and `_`, and up to 48 characters: give it another one in `select`",
            ));
        }
        if plan.identity.is_empty() {
            return Err(refused(
                Code::Field,
                "Cassandra writes rows over each other, but these have lost what names them".into(),
            )
            .help("write window and keys as they are, or write to `postgres`, which can only add rows"));
        }
        let mut identity = Vec::new();
        for name in &plan.identity {
            let index = plan.schema.fields.iter().position(|field| field.name == *name);
            let index = index.expect("a row's identity is among its columns");
            if plan.schema.fields[index].nullable {
                return Err(refused(
                    Code::Field,
                    format!("`{name}` names a row and may be null, which a key of Cassandra cannot be"),
                )
                .help("mark the source's column with `!`, or make it `coalesce(…, '')` before it is grouped by"));
            }
            identity.push(index);
        }
        let mut columns: Vec<(String, &'static str)> =
            plan.schema.fields.iter().map(|field| (field.name.clone(), type_name(field.data_type, times))).collect();
        columns.push((FINAL.into(), "boolean"));
        Ok(Self { keyspace: keyspace.to_string(), name: name.to_string(), columns, identity, times })
    }

    /// Returns its name for people, which is also what the table of epochs knows it by.
    pub(super) fn shown(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// Returns where among the columns of its key a row says in which window it is.
    pub(super) fn window_start(&self) -> Option<usize> {
        self.identity.iter().position(|index| self.columns[*index].0 == WINDOW_START)
    }

    /// Returns the quoted name of a table in its keyspace.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.keyspace), quoted(name))
    }

    fn key(&self) -> impl Iterator<Item = String> {
        self.identity.iter().map(|index| quoted(&self.columns[*index].0))
    }

    /// Returns the statement that makes it.
    pub(super) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))).collect();
        let key: Vec<String> = self.key().collect();
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (({})))",
            self.at(&self.name),
            columns.join(", "),
            key.join(", ")
        )
    }

    /// Returns the statement that puts a row over that of the same key, of the cells of all columns and a version.
    pub(super) fn upsert(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        let marks = vec!["?"; names.len()].join(", ");
        format!("INSERT INTO {} ({}) VALUES ({marks}) USING TIMESTAMP ?", self.at(&self.name), names.join(", "))
    }

    /// Returns the statement that takes a row away, of a version and the cells of its key.
    pub(super) fn delete(&self) -> String {
        let key: Vec<String> = self.key().map(|name| format!("{name} = ?")).collect();
        format!("DELETE FROM {} USING TIMESTAMP ? WHERE {}", self.at(&self.name), key.join(" AND "))
    }

    /// Returns the statement that reads the keys of all rows.
    pub(super) fn keys(&self) -> String {
        format!("SELECT {} FROM {}", self.key().collect::<Vec<_>>().join(", "), self.at(&self.name))
    }

    /// Refuses a table of other columns, of which name, type and kind were found.
    pub(super) fn must_fit(&self, found: &[(String, String, String)]) -> Result<()> {
        let mut differences = Vec::new();
        for (index, (name, kind)) in self.columns.iter().enumerate() {
            let is_key = self.identity.contains(&index);
            match found.iter().find(|(found, ..)| found == name) {
                None => differences.push(format!("it has no column `{name}` ({kind})")),
                Some((_, is, _)) if is != kind => differences.push(format!("`{name}` is {is} and should be {kind}")),
                Some((.., role)) if is_key != ["partition_key", "clustering"].contains(&role.as_str()) => {
                    let not = if is_key { "not " } else { "" };
                    differences.push(format!("`{name}` is {not}part of the primary key"));
                }
                Some((.., role)) if role == "static" => differences.push(format!("`{name}` is static")),
                Some(_) => {}
            }
        }
        for (name, ..) in found.iter().filter(|(name, ..)| !self.columns.iter().any(|(column, _)| column == name)) {
            differences.push(format!("it has a column `{name}`, which the sink does not write"));
        }
        if differences.is_empty() {
            return Ok(());
        }
        let message = format!("the table {} has other columns: {}", self.shown(), differences.join("; "));
        Err(Error::new(Code::Target, message)
            .help("drop it, so that the next run makes it anew, or name another `table`"))
    }
}

/// Returns what Cassandra calls the type of a column.
fn type_name(data_type: DataType, times: Times) -> &'static str {
    match data_type {
        DataType::Bool => "boolean",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double",
        DataType::Decimal(..) => "decimal",
        DataType::Timestamp => match times {
            Times::Millis => "timestamp",
            Times::Micros => "bigint",
        },
        DataType::Date => "date",
        DataType::Binary => "blob",
        // Cassandra has no JSON, and its collections know no nulls.
        DataType::String | DataType::Null | DataType::List(_) | DataType::Struct(_) | DataType::Json => "text",
    }
}

/// Returns true for a name that the database keeps whole.
fn is_plain_name(name: &str) -> bool {
    is_plain(name, NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::plan;

    fn with_keys() -> SinkPlan {
        let mut plan = plan("cassandra", &[]);
        plan.schema.fields.iter_mut().for_each(|field| field.nullable = false);
        plan
    }

    #[test]
    fn names_that_are_not_plain_never_become_part_of_a_statement() {
        let long = "x".repeat(49);
        for seed in [
            "",
            ".",
            "a.",
            "1a",
            "a b",
            "a\"b",
            "a'b",
            "a;b",
            "a--",
            "a/*",
            "ä",
            "a\0",
            "a\n",
            "$1",
            "a-b",
            "a)",
            "\u{202e}a",
            &long,
        ] {
            for name in [seed.to_string(), format!("x; {seed}"), format!("{seed}\" --"), format!("{seed}!")] {
                assert!(Table::new(&with_keys(), &format!("k.{name}"), Times::Millis).is_err(), "{name:?} as a table");
                assert!(
                    Table::new(&with_keys(), &format!("{name}.t"), Times::Millis).is_err(),
                    "{name:?} as a keyspace"
                );
                let mut plan = with_keys();
                plan.schema.fields[2].name = name.clone();
                assert!(Table::new(&plan, "k.t", Times::Millis).is_err(), "{name:?} as a column");
            }
        }
        assert!(Table::new(&with_keys(), "t", Times::Millis).is_err());
    }

    #[test]
    fn a_table_is_made_with_its_key_and_one_without_is_refused() {
        let table = Table::new(&with_keys(), "k.t", Times::Millis).unwrap();
        let columns =
            "\"window_start\" timestamp, \"page\" text, \"views\" bigint, \"revenue\" double, \"final\" boolean";
        let expected =
            format!("CREATE TABLE IF NOT EXISTS \"k\".\"t\" ({columns}, PRIMARY KEY ((\"window_start\", \"page\")))");
        assert_eq!(table.create(), expected);
        assert_eq!(table.window_start(), Some(0));
        assert!(Table::new(&with_keys(), "k.t", Times::Micros).unwrap().create().contains("\"window_start\" bigint"));
        let mut plan = with_keys();
        plan.schema.fields[1].nullable = true;
        let error = Table::new(&plan, "k.t", Times::Millis).unwrap_err();
        assert!(
            error.code == Code::Field && error.to_string().contains("`page` names a row and may be null"),
            "{error}"
        );
        plan.identity.clear();
        assert!(Table::new(&plan, "k.t", Times::Millis).unwrap_err().to_string().contains("lost what names them"));
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused_with_every_difference() {
        let table = Table::new(&with_keys(), "k.t", Times::Millis).unwrap();
        let mut found: Vec<(String, String, String)> = table
            .columns
            .iter()
            .enumerate()
            .map(|(index, (name, kind))| {
                let role = if table.identity.contains(&index) { "partition_key" } else { "regular" };
                (name.clone(), kind.to_string(), role.to_string())
            })
            .collect();
        table.must_fit(&found).unwrap();
        found[0].2 = "clustering".into();
        table.must_fit(&found).unwrap();
        (found[1].2, found[2].1, found[4].2) = ("regular".into(), "int".into(), "static".into());
        found[3].0 = "more".into();
        let error = table.must_fit(&found).unwrap_err().to_string();
        for words in [
            "`page` is not part of the primary key",
            "`views` is int and should be bigint",
            "no column `revenue`",
            "a column `more`",
            "`final` is static",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
