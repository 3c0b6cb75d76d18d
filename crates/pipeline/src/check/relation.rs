//! What the reader of a source or step sees: columns with types, and what is known about their rows.

use engine::plan::SourcePlan;
use engine::{DataType, Field, Schema};

/// Columns, and what is known about their rows.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The columns that can be named.
    pub(super) columns: Vec<Column>,
    /// The sources that the rows come from in the end, ascending.
    pub(super) sources: Vec<usize>,
    /// What the rows are.
    pub(super) rows: Rows,
    /// The columns that name a row, each under its present name; None where it is gone.
    pub(super) identity: Vec<Option<String>>,
    /// Whether its rows are elements of exploded records, told apart by an index.
    pub(super) is_indexed: bool,
    /// Whether the log's own time is always null in it.
    pub(super) lacks_timestamp: bool,
}

/// A column that can be named.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) field: Field,
    /// Whether it is the log's own (`_partition`, `_offset`, `_timestamp`), which is there only if it is named.
    pub(super) implied: bool,
}

/// What rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Records of a source.
    Records,
    /// Rows of fixed windows.
    Windows,
    /// Rows of sessions.
    Sessions,
    /// Rows of joins that have no window.
    Pairs,
}

impl Relation {
    /// Returns what the readers of a source see.
    pub(super) fn of_source(source: &SourcePlan, index: usize) -> Self {
        let count = source.columns.len();
        let fields = source.row_schema().fields.into_iter().enumerate();
        let columns = fields.map(|(i, field)| Column { field, implied: i >= count }).collect();
        let lacks_timestamp =
            source.bindings.lake.as_ref().is_some_and(|lake| lake.layout == engine::plan::Layout::Connect);
        let identity = ["_partition", "_offset"].map(|name| Some(name.to_owned())).to_vec();
        let rows = Rows::Records;
        Self { columns, sources: vec![index], rows, identity, is_indexed: false, lacks_timestamp }
    }

    /// Returns true for rows that closing makes: of windows, of sessions, of joins.
    pub(super) fn is_windows(&self) -> bool {
        self.rows != Rows::Records
    }

    /// Returns all columns as a schema.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|column| column.field.clone()).collect())
    }

    /// Returns the columns that are there without being named.
    pub(super) fn own(&self) -> Schema {
        Schema::new(self.columns.iter().filter(|column| !column.implied).map(|column| column.field.clone()).collect())
    }

    /// Returns the column of that name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.field.name == name)
    }

    /// Returns the names of all columns, for messages.
    pub(super) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.field.name.as_str()).collect()
    }

    /// Adds a column or replaces the one of that name, which then names no row any more.
    pub(super) fn put(&mut self, name: &str, data_type: DataType, nullable: bool) {
        let field = Field { name: name.into(), data_type, nullable };
        self.lose(name);
        match self.columns.iter_mut().find(|column| column.field.name == name) {
            Some(column) => *column = Column { field, implied: false },
            None => {
                // The log's own columns stay last.
                let at = self.columns.iter().position(|column| column.implied).unwrap_or(self.columns.len());
                self.columns.insert(at, Column { field, implied: false });
            }
        }
    }

    /// Notes that a column does not name rows any more.
    pub(super) fn lose(&mut self, name: &str) {
        for part in &mut self.identity {
            if part.as_deref() == Some(name) {
                *part = None;
            }
        }
    }

    /// Returns the names of the columns that name a row, if all are there.
    pub(super) fn whole_identity(&self) -> Option<Vec<String>> {
        self.identity.iter().cloned().collect()
    }
}
