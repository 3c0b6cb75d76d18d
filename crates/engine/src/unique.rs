//! Windows in which an id counts once, whatever partitions its copies are in (`unique_by`).
//!
//! Which copy counts is known only when the window closes: of all accepted ones it is the first in the record order. So
//! such a window holds, for each id, that copy's keys and aggregate arguments instead of running values, and its groups are
//! made when it closes. The least of several is the least of them in any order, so two states merge exactly.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use hashbrown::DefaultHashBuilder;

use crate::accumulators::Arguments;
use crate::expr::Expr;
use crate::group::{Groups, Interned, KeyCodec, intern, plain};
use crate::plan::WindowPlan;
use crate::rows::named;
use crate::snapshot::{fitting, ranges, with_names};
use crate::state::{FixedState, Table};
use crate::value::DataType;
use crate::window::Window;

/// How ids and what they bring are held as bytes.
pub(crate) struct UniqueCodecs {
    /// Of the ids.
    pub(crate) ids: KeyCodec,
    /// Of keys, arguments and filters, in this order.
    rows: KeyCodec,
}

impl UniqueCodecs {
    /// Returns the codecs of a window in which ids count once; None for any other.
    pub(crate) fn new(window: &WindowPlan) -> Option<Self> {
        if window.unique_by.is_empty() {
            return None;
        }
        let types = |exprs: &[(String, Expr)]| exprs.iter().map(|(_, expr)| expr.data_type()).collect::<Vec<_>>();
        let mut rows = types(&window.keys);
        rows.extend(window.calls.iter().flat_map(|call| call.argument_types()));
        rows.extend(window.calls.iter().filter(|call| call.filter.is_some()).map(|_| DataType::Bool));
        Some(Self { ids: KeyCodec::new(&types(&window.unique_by)), rows: KeyCodec::new(&rows) })
    }

    /// Returns keys, arguments and filters of each row as bytes.
    pub(crate) fn encode(&self, keys: &[ArrayRef], arguments: &Arguments, rows: usize) -> BinaryArray {
        let mut columns: Vec<ArrayRef> = keys.iter().map(plain).collect();
        columns.extend(arguments.calls.iter().flatten().cloned());
        let filters = arguments.filters.iter().flatten();
        columns.extend(filters.map(|mask| -> ArrayRef { Arc::new(BooleanArray::new(mask.clone(), None)) }));
        self.rows.encode(&columns, rows)
    }

    /// Returns the copies that count in a window so far, by id: id, place in the record order, then what the copy brings.
    pub(crate) fn tables(&self, window: &WindowPlan, table: &UniqueTable) -> impl Iterator<Item = RecordBatch> {
        let ids = table.ids.sorted();
        let sizes = ids.iter().map(|id| table.ids.key(*id).len() + table.copies[*id as usize].row.len());
        let sizes: Vec<usize> = sizes.collect();
        ranges(sizes.into_iter()).map(move |range| self.some_rows(window, table, &ids[range]))
    }

    /// Returns the table of no copies.
    pub(crate) fn empty_rows(&self, window: &WindowPlan) -> RecordBatch {
        self.some_rows(window, &UniqueTable::default(), &[])
    }

    fn some_rows(&self, window: &WindowPlan, table: &UniqueTable, ids: &[u32]) -> RecordBatch {
        let copies = || ids.iter().map(|id| &table.copies[*id as usize]);
        let id_columns = self.ids.decode(ids.iter().map(|id| table.ids.key(*id)));
        let mut columns = with_names(&window.unique_by, id_columns);
        columns.push(("_order".into(), Arc::new(BinaryArray::from_iter_values(copies().map(|copy| &copy.order)))));
        let brought = self.rows.decode(copies().map(|copy| &*copy.row)).into_iter().enumerate();
        columns.extend(brought.map(|(number, column)| (format!("#{number}"), column)));
        named(columns, ids.len())
    }

    /// Takes in copies that [`UniqueCodecs::tables`] gave; None: they do not fit.
    pub(crate) fn restore(
        &self,
        window: &WindowPlan,
        rows: &RecordBatch,
        table: &mut UniqueTable,
        hasher: &DefaultHashBuilder,
    ) -> Option<()> {
        let columns = fitting(rows, &self.some_rows(window, &UniqueTable::default(), &[]))?;
        let (ids, rest) = columns.split_at(window.unique_by.len());
        let (order, brought) = rest.split_first()?;
        let ids = self.ids.encode(ids, rows.num_rows());
        let brought = self.rows.encode(brought, rows.num_rows());
        for row in 0..rows.num_rows() {
            let id = ids.value(row);
            table.take_in(hasher.hash_one(id), id, order.as_binary::<i32>().value(row), brought.value(row));
        }
        Some(())
    }

    /// Makes the groups of a closed window of the copies that count.
    pub(crate) fn table(
        &self,
        at: Window,
        window: &WindowPlan,
        codec: &KeyCodec,
        table: UniqueTable,
        hasher: &DefaultHashBuilder,
    ) -> Table {
        let rows = table.copies.len();
        let mut columns = self.rows.decode(table.copies.iter().map(|copy| &*copy.row)).into_iter();
        let keys: Vec<ArrayRef> = columns.by_ref().take(window.keys.len()).collect();
        let calls = window.calls.iter().map(|call| columns.by_ref().take(call.arguments.len()).collect()).collect();
        let filters = window.calls.iter().map(|call| {
            let mask = call.filter.as_ref().and_then(|_| columns.next())?;
            Some(mask.as_boolean().values().clone())
        });
        let filters = filters.collect();
        let order = Some(BinaryArray::from_iter_values(table.copies.iter().map(|copy| &copy.order)));
        let interned = intern(codec, &keys, rows, hasher);
        let mut state = FixedState::default();
        let all: Vec<u32> = (0..rows as u32).collect();
        state.update(at, &all, &interned, &Arguments { calls, filters, order }, &window.calls);
        state.close(|_| true).pop().expect("a window with an id has a table").1
    }
}

/// Open windows and their ids.
#[derive(Clone, Default)]
pub(crate) struct UniqueState {
    tables: BTreeMap<Window, UniqueTable>,
    /// Counts updates and merges, so that it is known which table was touched last.
    touches: u64,
}

/// The ids of a window.
#[derive(Clone, Default)]
pub(crate) struct UniqueTable {
    ids: Groups,
    /// By id, the copy that counts among those seen so far.
    copies: Vec<Copy>,
    /// Whether the last snapshot has it as it is.
    pub(crate) saved: bool,
    /// When rows last came to it, as its state counts.
    pub(crate) touched: u64,
    /// Bytes that the copies occupy besides themselves.
    heap_bytes: usize,
}

/// What a row brings to its window.
#[derive(Clone)]
struct Copy {
    /// Its place in the record order.
    order: Box<[u8]>,
    /// Its keys, arguments and filters.
    row: Box<[u8]>,
}

impl Copy {
    fn heap_bytes(&self) -> usize {
        // What the allocator adds to two small boxes.
        self.order.len() + self.row.len() + 32
    }
}

impl UniqueTable {
    /// Returns how many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.copies.len()
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.ids.size_bytes() + self.copies.capacity() * size_of::<Copy>() + self.heap_bytes
    }

    fn take_in(&mut self, hash: u64, id: &[u8], order: &[u8], row: &[u8]) {
        let place = self.ids.group(hash, id) as usize;
        self.saved = false;
        let new = || Copy { order: order.into(), row: row.into() };
        match self.copies.get_mut(place) {
            None => self.copies.push(new()),
            Some(copy) if order < &*copy.order => {
                self.heap_bytes -= copy.heap_bytes();
                *copy = new();
            }
            Some(_) => return,
        }
        self.heap_bytes += self.copies[place].heap_bytes();
    }
}

impl UniqueState {
    /// Takes rows of a batch into a window.
    pub(crate) fn update(
        &mut self,
        at: Window,
        rows: &[u32],
        ids: &Interned,
        order: &BinaryArray,
        bytes: &BinaryArray,
    ) {
        self.touches += 1;
        let table = self.tables.entry(at).or_default();
        table.touched = self.touches;
        for row in rows.iter().map(|row| *row as usize) {
            let id = ids.ids[row] as usize;
            table.take_in(ids.hashes[id], ids.keys.value(id), order.value(row), bytes.value(row));
        }
    }

    /// Returns the open windows and their ids.
    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = (&Window, &mut UniqueTable)> {
        self.tables.iter_mut()
    }

    /// Returns the open windows and their ids.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&Window, &UniqueTable)> {
        self.tables.iter()
    }

    /// Returns whether there is a table of a window.
    pub(crate) fn has(&self, window: Window) -> bool {
        self.tables.contains_key(&window)
    }

    /// Returns how long ago a table was touched.
    pub(crate) fn age(&self, touched: u64) -> u64 {
        self.touches - touched
    }

    /// Takes out the ids of a window.
    pub(crate) fn remove(&mut self, at: Window) -> Option<UniqueTable> {
        self.tables.remove(&at)
    }

    /// Returns the ids of a window, made if it is new.
    pub(crate) fn table(&mut self, at: Window) -> &mut UniqueTable {
        self.tables.entry(at).or_default()
    }

    /// Takes in the windows of another state.
    pub(crate) fn merge(&mut self, other: UniqueState, hasher: &DefaultHashBuilder) {
        self.touches += 1;
        for (at, table) in other.tables {
            let mine = self.tables.entry(at).or_default();
            mine.touched = self.touches;
            for (place, copy) in table.copies.iter().enumerate() {
                let id = table.ids.key(place as u32);
                mine.take_in(hasher.hash_one(id), id, &copy.order, &copy.row);
            }
        }
    }

    /// Takes out the windows for which `is_final` holds, in canonical order. It must hold for all ends up to some end.
    pub(crate) fn close(&mut self, is_final: impl Fn(i64) -> bool) -> Vec<(Window, UniqueTable)> {
        let mut closed = Vec::new();
        while let Some(entry) = self.tables.first_entry() {
            if !is_final(entry.key().end) {
                break;
            }
            closed.push(entry.remove_entry());
        }
        closed
    }

    /// Returns how many windows are open.
    pub(crate) fn open(&self) -> usize {
        self.tables.len()
    }

    /// Returns how many ids are in them.
    pub(crate) fn ids(&self) -> usize {
        self.tables.values().map(|table| table.ids.len()).sum()
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.tables.values().map(UniqueTable::size_bytes).sum()
    }
}
