//! Spilling: tables of windows leave the state for a while, in the form in which a checkpoint keeps them.
//!
//! Merging partial states is commutative and exact, so the groups of a window may lie in several places: a table in the state
//! takes in what comes, *pieces* of earlier times lie elsewhere, and before the window closes they are merged back. Which
//! windows leave, and when, is as unobservable as where a chunk ends. The engine hands pieces out and takes them in again;
//! where they lie is not its business.
//!
//! Only groups and ids of windows leave, because only these are next needed at a known moment: when the frontier passes the
//! window's end. Open sessions, the rows and versions of joins and the ids of `dedup` are looked up by every chunk.

use arrow::array::RecordBatch;

use crate::error::{Code, Error, Result};
use crate::fold::State;
use crate::plan::{Input, JoinPlan, JoinTime, Work};
use crate::snapshot::{Part, PartName};
use crate::state::WindowState;
use crate::task::Engine;
use crate::watermark::{NEVER, completeness};
use crate::window::Window;

/// A table on its way out of the state.
pub struct Spilled<'a> {
    /// The step and the window that it is of.
    pub name: PartName,
    /// The place of the step in the plan.
    pub step: usize,
    /// About how many bytes it occupied.
    pub bytes: usize,
    /// How many groups or ids it has.
    pub groups: usize,
    /// Its rows.
    pub tables: &'a mut dyn Iterator<Item = RecordBatch>,
}

/// What a step holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The step's name.
    pub step: String,
    /// What it holds, such as "open sessions".
    pub what: &'static str,
    /// About how many bytes.
    pub bytes: usize,
    /// How many windows, sessions or ids; None where they are not counted.
    pub count: Option<usize>,
    /// Whether it can leave the state.
    pub can_leave: bool,
}

impl State {
    /// Returns whether groups or ids of that window are in the state.
    pub fn has_window(&self, step: usize, at: Window) -> bool {
        match &self.windows[step] {
            Some(WindowState::Fixed(state)) => state.has(at),
            Some(WindowState::Unique(state)) => state.has(at),
            Some(WindowState::Session(_)) | None => false,
        }
    }
}

impl Engine {
    /// Returns how far the output of each step is complete when the frontiers stand there: no row that is yet to come has an
    /// end, or an event time, below it.
    pub fn complete(&self, frontiers: &[i64]) -> Vec<i64> {
        let mut complete: Vec<i64> = Vec::with_capacity(self.plan.steps.len());
        let of_sources = |sources: &[usize]| sources.iter().map(|source| frontiers[*source]).min().unwrap_or(NEVER);
        for step in &self.plan.steps {
            complete.push(match &step.work {
                Work::Join(join) => {
                    let bounds = sides(join, frontiers, &complete);
                    match join.time {
                        JoinTime::Within { before, after } => {
                            crate::join::interval_complete(join.kind, [after, before], bounds)
                        }
                        JoinTime::Window(_) | JoinTime::AsOf { .. } => bounds[0].min(bounds[1]),
                    }
                }
                _ if step.over_windows => {
                    let before = step.inputs.iter().map(|input| input.step().expect("window rows come from steps"));
                    before.map(|step| complete[step]).min().unwrap_or(NEVER)
                }
                Work::Window(window) => completeness(of_sources(&step.sources), window.allowed_lateness),
                Work::Rows | Work::Dedup(_) | Work::Lookup(_) => NEVER,
            });
        }
        complete
    }

    /// Takes tables out of the state until about `target` bytes of it are left, those first that have not been touched for
    /// longest. What must stay, stays.
    pub fn spill(
        &self,
        state: &mut State,
        target: usize,
        mut take: impl FnMut(Spilled<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = state.size_bytes();
        // How long ago each table was touched, then how large it is.
        let mut tables: Vec<(u64, usize, usize, Window)> = Vec::new();
        for (index, state) in state.windows.iter().enumerate() {
            match state {
                Some(WindowState::Fixed(state)) => tables.extend(
                    state.tables().map(|(at, table)| (state.age(table.touched), table.size_bytes(), index, *at)),
                ),
                Some(WindowState::Unique(state)) => tables.extend(
                    state.tables().map(|(at, table)| (state.age(table.touched), table.size_bytes(), index, *at)),
                ),
                Some(WindowState::Session(_)) | None => {}
            }
        }
        tables.sort_unstable_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then_with(|| (a.2, a.3).cmp(&(b.2, b.3))));
        for (_, size, index, at) in tables {
            if bytes <= target {
                break;
            }
            bytes = bytes.saturating_sub(size);
            self.spill_table(state, index, at, &mut take)?;
        }
        Ok(())
    }

    fn spill_table(
        &self,
        state: &mut State,
        index: usize,
        at: Window,
        take: &mut impl FnMut(Spilled<'_>) -> Result<()>,
    ) -> Result<()> {
        let step = &self.plan.steps[index];
        let Work::Window(window) = &step.work else { unreachable!("only window steps have tables") };
        let name = PartName { step: step.name.clone(), window: Some(at), ..PartName::default() };
        match state.windows[index].as_mut().expect("a window step has state") {
            WindowState::Fixed(state) => {
                let Some(table) = state.remove(at) else { return Ok(()) };
                let codec = self.codecs[index].as_ref().expect("a window step has a key codec");
                let (bytes, groups) = (table.size_bytes(), table.groups.len());
                let tables = &mut crate::snapshot::group_tables(window, codec, &table);
                take(Spilled { name, step: index, bytes, groups, tables })
            }
            WindowState::Unique(state) => {
                let Some(table) = state.remove(at) else { return Ok(()) };
                let codecs = self.uniques[index].as_ref().expect("ids that count once have codecs");
                let (bytes, groups) = (table.size_bytes(), table.len());
                let tables = &mut codecs.tables(window, &table);
                take(Spilled { name, step: index, bytes, groups, tables })
            }
            WindowState::Session(_) => unreachable!("sessions do not leave"),
        }
    }

    /// Takes a part into a state that may hold more of the same, each part once. One that does not fit the plan is an error.
    pub fn take_back(&self, state: &mut State, part: &Part) -> Result<()> {
        self.restore_into(state, part)
    }

    /// Merges parts of one window, which may lie in several pieces and layers, into one. The parts come in the order of
    /// their names, the last one first.
    pub fn merged(&self, parts: impl IntoIterator<Item = Result<Part>>) -> Result<Part> {
        let mut state = self.empty();
        let mut name = PartName::default();
        for part in parts {
            let part = part?;
            self.take_back(&mut state, &part)?;
            name = PartName { layer: None, piece: None, ..part.name };
        }
        let whole = self.snapshot(&mut state, true).into_iter().find(|part| part.name == name);
        whole.ok_or_else(|| Error::new(Code::Corrupt, format!("step `{}` has a window of no part", name.step)))
    }

    /// Returns a state of the same windows and rows, without what partitions remember: what `finish` needs.
    pub fn copy(&self, state: &State) -> State {
        let windows = state.windows.iter().zip(&self.plan.steps).map(|(state, step)| match (state, &step.work) {
            (Some(state), Work::Window(window)) => Some(state.copy(window, &self.hasher)),
            _ => None,
        });
        State { windows: windows.collect(), joins: state.joins.clone(), memories: Default::default() }
    }

    /// Returns what each step holds, the most bytes first.
    pub fn holdings(&self, state: &State) -> Vec<Holding> {
        let mut holdings = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let holding =
                |what, bytes, count, can_leave| Holding { step: step.name.clone(), what, bytes, count, can_leave };
            if let Some(state) = &state.windows[index] {
                let (what, can_leave) = match state {
                    WindowState::Fixed(_) => ("groups of open windows", true),
                    WindowState::Unique(_) => ("ids of open windows", true),
                    WindowState::Session(_) => ("open sessions", false),
                };
                holdings.push(holding(what, state.size_bytes(), Some(state.open()), can_leave));
            }
            if let Some(state) = &state.joins[index] {
                holdings.push(holding("rows of a join", state.size_bytes(), None, false));
            }
            let seen = state.memories.values().flat_map(|memory| memory.seen(index));
            let (bytes, count) =
                seen.fold((0, 0), |(bytes, count), seen| (bytes + seen.size_bytes(), count + seen.len()));
            if count > 0 {
                holdings.push(holding("ids of `dedup`", bytes, Some(count), false));
            }
        }
        holdings.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.step.cmp(&b.step)));
        holdings
    }

    /// Forgets which tables the last snapshot has as they are: the next one brings them all.
    pub fn mark_changed(&self, state: &mut State) {
        for state in state.windows.iter_mut().flatten() {
            match state {
                WindowState::Fixed(state) => state.tables_mut().for_each(|(_, table)| table.forget_saved()),
                WindowState::Unique(state) => state.tables_mut().for_each(|(_, table)| table.saved = false),
                WindowState::Session(_) => {}
            }
        }
    }
}

/// Returns how far each side of a join is complete: no row of it that is yet to come is earlier.
pub(crate) fn sides(join: &JoinPlan, frontiers: &[i64], complete: &[i64]) -> [i64; 2] {
    [0, 1].map(|side: usize| match join.sides[side].input {
        Input::Step(before) if !join.sides[side].are_records => complete[before],
        _ => join.sides[side].sources.iter().map(|source| frontiers[*source]).min().unwrap_or(NEVER),
    })
}
