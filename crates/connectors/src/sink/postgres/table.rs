//! The table of a sink: its statements, and whether one that is there fits.
//!
//! Names go into statements only from a whitelist, and quoted; values never do.

use engine::plan::SinkPlan;
use engine::{Code, DataType, Error, Result};
use postgres::Transaction;

use super::address::Trouble;
use super::copy::type_name;
use crate::sink::rows::{FINAL, WINDOW_START};
use crate::sink::sql::{is_plain, quoted};

/// The table beside the sinks' tables that says up to which epoch each holds rows, and who may write.
pub(super) const EPOCHS: &str = "_samestream_epochs";

/// Where rows wait within a transaction.
pub(super) const STAGED: &str = "_samestream_rows";

/// Bytes of a name at most: PostgreSQL cuts longer ones, and two could become one.
const NAME_BYTES: usize = 63;

/// A sink's table as it should be.
pub(super) struct Table {
    /// Its schema; None: the first of the connection's search path.
    pub(super) schema: Option<String>,
    pub(super) name: String,
    columns: Vec<Column>,
    /// The columns that name a row; none: rows are only added.
    identity: Vec<String>,
}

struct Column {
    name: String,
    type_name: String,
    nullable: bool,
}

impl Table {
    /// Makes it of a sink's plan; refuses names that are not plain.
    pub(super) fn new(plan: &SinkPlan, setting: &str) -> Result<Self> {
        let refused = |what: String| Error::new(Code::Name, format!("sink `{}`: {what}", plan.name));
        let (schema, name) = match setting.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, setting),
        };
        if !schema.into_iter().chain([name]).all(is_plain_name) {
            return Err(refused("`table` is not a plain name".into()).help(
                "it is `NAME` or `SCHEMA.NAME`, of letters, digits and `_`, not beginning with a digit, up to 63 characters each",
            ));
        }
        let wrong = plan
            .schema
            .fields
            .iter()
            .find(|field| field.name.len() > NAME_BYTES || !field.name.split('.').all(is_plain_name));
        if let Some(field) = wrong {
            return Err(refused(format!("PostgreSQL is given no column `{}`", field.name)).help(
                "names of columns have letters, digits and `_`, and up to 63 characters: give it another one in `select`",
            ));
        }
        let mut columns: Vec<Column> = plan
            .schema
            .fields
            .iter()
            .map(|field| Column {
                name: field.name.clone(),
                type_name: type_name(field.data_type),
                nullable: field.nullable,
            })
            .collect();
        columns.push(Column { name: FINAL.into(), type_name: type_name(DataType::Bool), nullable: false });
        Ok(Self { schema: schema.map(String::from), name: name.to_string(), columns, identity: plan.identity.clone() })
    }

    /// Returns the names of the columns, `final` last.
    pub(super) fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Returns true when rows say in which window they are.
    pub(super) fn has_windows(&self) -> bool {
        self.columns.iter().any(|column| column.name == WINDOW_START)
    }

    fn is_nullable(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.nullable)
    }

    /// Returns the constraint that lets a row be found by its identity.
    fn key(&self) -> Option<String> {
        let names: Vec<String> = self.identity.iter().map(|name| quoted(name)).collect();
        let kind = match self.identity.iter().any(|name| self.is_nullable(name)) {
            true => "UNIQUE NULLS NOT DISTINCT",
            false => "PRIMARY KEY",
        };
        (!names.is_empty()).then(|| format!("{kind} ({})", names.join(", ")))
    }

    /// Returns the statements that make it in a schema.
    pub(super) fn create(&self, schema: &str) -> Vec<String> {
        let columns = self.columns.iter().map(|column| {
            let not_null = if column.name == FINAL { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), column.type_name)
        });
        let parts: Vec<String> = columns.chain(self.key()).collect();
        let at = self.at(schema);
        vec![
            format!("CREATE TABLE {at} ({})", parts.join(", ")),
            // The open rows are found without reading all the others.
            format!("CREATE INDEX ON {at} ({}) WHERE NOT {}", quoted(FINAL), quoted(FINAL)),
        ]
    }

    /// Returns its quoted name in a schema.
    pub(super) fn at(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(&self.name))
    }

    /// Returns the statement that makes the place where rows wait within a transaction.
    pub(super) fn create_staged(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.type_name)).collect();
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS",
            quoted(STAGED),
            columns.join(", ")
        )
    }

    /// Returns the statement that takes rows as bytes: at once into the table if they have no identity, else on the way there.
    pub(super) fn copy(&self, schema: &str) -> String {
        if self.identity.is_empty() { self.copy_to(&self.at(schema)) } else { self.copy_staged() }
    }

    /// Returns the statement that takes rows as bytes on the way to the table.
    pub(super) fn copy_staged(&self) -> String {
        self.copy_to(&format!("pg_temp.{}", quoted(STAGED)))
    }

    fn copy_to(&self, to: &str) -> String {
        format!("COPY {to} ({}) FROM STDIN (FORMAT binary)", self.names())
    }

    /// Returns the statement that adds the staged rows, over those of the same identity if they have one.
    pub(super) fn insert_staged(&self, schema: &str) -> String {
        self.upsert(schema).unwrap_or_else(|| {
            let (at, names) = (self.at(schema), self.names());
            format!("INSERT INTO {at} ({names}) SELECT {names} FROM pg_temp.{}", quoted(STAGED))
        })
    }

    /// Returns the statement that puts the staged rows over those of the same identity; None: they are in the table already.
    pub(super) fn upsert(&self, schema: &str) -> Option<String> {
        if self.identity.is_empty() {
            return None;
        }
        let key: Vec<String> = self.identity.iter().map(|name| quoted(name)).collect();
        let others = self.columns.iter().filter(|column| !self.identity.contains(&column.name));
        let set: Vec<String> = others.map(|column| format!("{0} = excluded.{0}", quoted(&column.name))).collect();
        Some(format!(
            "INSERT INTO {} ({names}) SELECT {names} FROM pg_temp.{} ON CONFLICT ({}) DO UPDATE SET {}",
            self.at(schema),
            quoted(STAGED),
            key.join(", "),
            set.join(", "),
            names = self.names(),
        ))
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Refuses a table whose columns or key are others.
    pub(super) fn must_fit(&self, transaction: &mut Transaction<'_>, oid: u32, shown: &str) -> Result<(), Trouble> {
        let found = transaction.query(
            "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute \
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&oid],
        )?;
        let found: Vec<(String, String)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut differences = Vec::new();
        for column in &self.columns {
            match found.iter().find(|(name, _)| *name == column.name) {
                None => differences.push(format!("it has no column `{}` ({})", column.name, column.type_name)),
                Some((_, is)) if *is != column.type_name => {
                    differences.push(format!("`{}` is {is} and should be {}", column.name, column.type_name));
                }
                Some(_) => {}
            }
        }
        for (name, _) in found.iter().filter(|(name, _)| !self.columns.iter().any(|column| column.name == *name)) {
            differences.push(format!("it has a column `{name}`, which the sink does not write"));
        }
        if !differences.is_empty() {
            let message = format!("the table {shown} has other columns: {}", differences.join("; "));
            return Err(Error::new(Code::Target, message)
                .help(
                    "drop it, so that the next run makes it anew, change it with ALTER TABLE, or name another `table`",
                )
                .into());
        }
        self.must_have_key(transaction, oid, shown)
    }

    /// Refuses a table in which a row cannot be found by its identity.
    fn must_have_key(&self, transaction: &mut Transaction<'_>, oid: u32, shown: &str) -> Result<(), Trouble> {
        let Some(key) = self.key() else { return Ok(()) };
        // `to_jsonb` because a server before 15 has no such column.
        let indexes = transaction.query(
            "SELECT array_to_string(array(SELECT a.attname::text FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) ORDER BY 1), ','), \
                    coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) \
             FROM pg_catalog.pg_index i \
             WHERE i.indrelid = $1 AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate",
            &[&oid],
        )?;
        let has_nulls = self.identity.iter().any(|name| self.is_nullable(name));
        let mut wanted = self.identity.clone();
        wanted.sort();
        let wanted = wanted.join(",");
        let fits = |row: &postgres::Row| {
            let (mut names, distinct): (Vec<String>, bool) =
                (row.get::<_, String>(0).split(',').map(String::from).collect(), row.get(1));
            names.sort();
            names.join(",") == wanted && (distinct || !has_nulls)
        };
        if indexes.iter().any(fits) {
            return Ok(());
        }
        let message = format!("the table {shown} has no key by which the sink's rows are told apart");
        Err(Error::new(Code::Target, message).help(format!("`ALTER TABLE … ADD {key}`")).into())
    }
}

/// Returns the statement that makes the table of epochs in a schema.
pub(super) fn create_epochs(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (\"table\" text PRIMARY KEY, table_oid oid NOT NULL, pipeline text NOT NULL, \
         sink text NOT NULL, owner text NOT NULL, job text, epoch bigint, commits bigint NOT NULL, \
         open_rows bigint NOT NULL, committed_at timestamp with time zone NOT NULL DEFAULT now(), settled bigint)",
        quoted(schema),
        quoted(EPOCHS)
    )
}

/// Returns true for a name that the database keeps whole.
fn is_plain_name(name: &str) -> bool {
    is_plain(name, NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::plan;

    #[test]
    fn names_that_are_not_plain_never_become_part_of_a_statement() {
        let long = "x".repeat(64);
        let hostile = [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
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
            "\"a\"",
            "$1",
            "a-b",
            "a)",
            "a\\",
            "\u{202e}a",
            &long,
        ];
        for seed in hostile {
            for name in [seed.to_string(), format!("x; {seed}"), format!("{seed}\" --"), format!("public.{seed}!")] {
                assert!(Table::new(&plan("postgres", &[]), &name).is_err(), "{name:?} as a table");
                let mut plan = plan("postgres", &[]);
                plan.schema.fields[1].name = name.clone();
                // A dot is part of a name there: joins give both sides' columns such names.
                assert!(Table::new(&plan, "t").is_err() || name == "a.b.c", "{name:?} as a column");
            }
        }
    }

    #[test]
    fn a_table_is_made_with_its_key() {
        let mut plan = plan("postgres", &[]);
        let made = |plan: &SinkPlan| Table::new(plan, "s.t").unwrap().create("s")[0].clone();
        let columns = "\"window_start\" timestamp with time zone, \"page\" text, \"views\" bigint, \"revenue\" double precision, \"final\" boolean NOT NULL";
        let key = "UNIQUE NULLS NOT DISTINCT (\"window_start\", \"page\")";
        assert_eq!(made(&plan), format!("CREATE TABLE \"s\".\"t\" ({columns}, {key})"));
        plan.schema.fields.iter_mut().for_each(|field| field.nullable = false);
        assert!(made(&plan).ends_with("PRIMARY KEY (\"window_start\", \"page\"))"));
        plan.identity.clear();
        assert_eq!(made(&plan), format!("CREATE TABLE \"s\".\"t\" ({columns})"));
    }
}
