//! Sessions and joined rows with one bound and with another.
//!
//! With a greater bound a step takes the same records and more, never others. So it is enough to know, for a key, all that
//! came and the least bound with which each is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::Engine;
use engine::log::{Offset, Partition};
use engine::plan::{JoinPlan, JoinTime, Plan, Work};
use engine::trace::{Event, Fate, Name};
use engine::window::{Window, Windowing};

use super::{Changed, EXAMPLES, key_text, place};
use crate::walk::Visitor;

/// All that came to some keys of sessions and joins.
pub(super) struct Members {
    plan: Arc<Plan>,
    /// By step and key.
    keys: BTreeMap<usize, BTreeMap<Vec<u8>, Key>>,
}

#[derive(Default)]
struct Key {
    /// Whether a null is in it.
    has_null: bool,
    members: Vec<Member>,
}

/// A row that came.
struct Member {
    side: usize,
    name: Name,
    time: i64,
    /// Of window joins.
    window: Option<Window>,
    /// The least bound with which it is taken.
    bound: i64,
}

impl Member {
    /// Returns whether it is taken when that source has that bound, and the others have theirs in the file.
    fn is_taken(&self, plan: &Plan, (source, bound): (usize, i64)) -> bool {
        match self.name {
            Name::Record { source: of, .. } if of == source => self.bound <= bound,
            Name::Record { source: of, .. } => self.bound <= plan.sources[of].out_of_orderness,
            Name::Row { .. } | Name::Joined { .. } => true,
        }
    }

    fn position(&self) -> Option<(Partition, Offset)> {
        match self.name {
            Name::Record { partition, offset, .. } => Some((partition, offset)),
            Name::Row { .. } | Name::Joined { .. } => None,
        }
    }
}

impl Visitor for Members {
    fn event(&mut self, event: &Event<'_>) {
        let Some(keys) = self.keys.get_mut(&event.step) else { return };
        let Some(place) = place(&self.plan, event) else { return };
        let Some(key) = keys.get_mut(place.key) else { return };
        key.has_null |= matches!(event.fate, Fate::AtSide { has_null: true, .. });
        key.members.push(Member {
            side: place.side,
            name: event.name.clone(),
            time: event.event_time,
            window: place.at,
            bound: place.bound,
        });
    }
}

impl Members {
    pub(super) fn new(plan: &Arc<Plan>, keys: BTreeMap<usize, BTreeSet<Vec<u8>>>) -> Self {
        let empty = |keys: BTreeSet<Vec<u8>>| keys.into_iter().map(|key| (key, Key::default())).collect();
        Self { plan: plan.clone(), keys: keys.into_iter().map(|(step, keys)| (step, empty(keys))).collect() }
    }

    /// Returns whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns how many results of a step another bound of a source changes, and a few of them.
    pub(super) fn changes(&self, engine: &Engine, step: usize, source: usize, bound: i64) -> (u64, Vec<Changed>) {
        let present = self.plan.sources[source].out_of_orderness;
        let (mut count, mut examples) = (0, Vec::new());
        for (key, of_key) in self.keys.get(&step).into_iter().flatten() {
            let mut windows: BTreeMap<Option<Window>, Vec<&Member>> = BTreeMap::new();
            of_key.members.iter().for_each(|member| windows.entry(member.window).or_default().push(member));
            for (window, mut members) in windows {
                members.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
                let taken = |bound: i64| -> Vec<bool> {
                    members.iter().map(|member| member.is_taken(&self.plan, (source, bound))).collect()
                };
                let (now, then) = (taken(present), taken(bound));
                if now == then {
                    continue;
                }
                let differences = match &self.plan.steps[step].work {
                    Work::Window(of) => {
                        let Windowing::Session { gap } = of.windowing else { unreachable!("it has sessions") };
                        sessions(&members, gap, [&now, &then])
                    }
                    Work::Join(join) => joined(&members, join, window, of_key.has_null, [&now, &then]),
                    Work::Rows | Work::Dedup(_) | Work::Lookup(_) => unreachable!("nothing is late at it"),
                };
                let is_flipped = |at: &usize| now[*at] != then[*at];
                let record = (0..members.len()).filter(is_flipped).find_map(|at| members[at].position());
                for Difference { window, changed, lost, gained, record: own } in differences {
                    count += changed;
                    if let Some(record) = own.or(record).filter(|_| changed > 0 && examples.len() < EXAMPLES) {
                        let key = key_text(engine, step, key);
                        examples.push(Changed { window, key, lost, gained, record });
                    }
                }
            }
        }
        (count, examples)
    }
}

/// What differs between two bounds.
struct Difference {
    window: Option<Window>,
    changed: u64,
    lost: u64,
    gained: u64,
    /// A record that only one of the bounds takes, if it is known which.
    record: Option<(Partition, Offset)>,
}

/// Compares the sessions of the members that are taken now and then.
fn sessions(members: &[&Member], gap: i64, [now, then]: [&[bool]; 2]) -> Vec<Difference> {
    let of = |taken: &[bool]| -> BTreeMap<Window, Vec<usize>> {
        let mut sessions: Vec<Vec<usize>> = Vec::new();
        for at in (0..members.len()).filter(|at| taken[*at]) {
            match sessions.last_mut() {
                Some(session) if session.last().is_some_and(|last| members[at].time - members[*last].time < gap) => {
                    session.push(at);
                }
                _ => sessions.push(vec![at]),
            }
        }
        let window = |session: &[usize]| {
            let (first, last) = (session[0], session[session.len() - 1]);
            Window { start: members[first].time, end: members[last].time.saturating_add(gap) }
        };
        sessions.into_iter().map(|session| (window(&session), session)).collect()
    };
    let (before, after) = (of(now), of(then));
    let windows: BTreeSet<&Window> = before.keys().chain(after.keys()).collect();
    let none = Vec::new();
    let mut differences = Vec::new();
    for window in windows {
        let [before, after] = [&before, &after].map(|sessions| sessions.get(window).unwrap_or(&none));
        if before == after {
            continue;
        }
        let lost = before.iter().filter(|at| !after.contains(at)).count() as u64;
        let gained = after.iter().filter(|at| !before.contains(at)).count() as u64;
        let mut all = before.iter().chain(after);
        let record = all.find(|at| now[**at] != then[**at]).and_then(|at| members[*at].position());
        differences.push(Difference { window: Some(*window), changed: 1, lost, gained, record });
    }
    differences
}

/// What a join makes of the members of a key.
#[derive(Default)]
struct Outcome {
    /// How many pairs. Of two bounds one gives all the pairs of the other and more.
    pairs: u64,
    /// Rows without a partner.
    alone: BTreeSet<usize>,
    /// Of as-of joins: each left row and its version.
    versions: BTreeMap<usize, Option<usize>>,
}

fn joined(
    members: &[&Member],
    join: &JoinPlan,
    window: Option<Window>,
    has_null: bool,
    [now, then]: [&[bool]; 2],
) -> Vec<Difference> {
    let [before, after] = [now, then].map(|taken| outcome(members, join, has_null, taken));
    let mut lost = before.pairs.saturating_sub(after.pairs) + before.alone.difference(&after.alone).count() as u64;
    let mut gained = after.pairs.saturating_sub(before.pairs) + after.alone.difference(&before.alone).count() as u64;
    let mut changed = lost + gained;
    let lefts: BTreeSet<&usize> = before.versions.keys().chain(after.versions.keys()).collect();
    for left in lefts {
        match (before.versions.get(left), after.versions.get(left)) {
            (known, other) if known == other => continue,
            (Some(_), None) => lost += 1,
            (None, Some(_)) => gained += 1,
            // Another version beside it: a row goes, a row comes, in its place.
            _ => (lost, gained) = (lost + 1, gained + 1),
        }
        changed += 1;
    }
    vec![Difference { window, changed, lost, gained, record: None }]
}

fn outcome(members: &[&Member], join: &JoinPlan, has_null: bool, taken: &[bool]) -> Outcome {
    // In the record order, so each side is by time.
    let of_side = |side: usize| -> Vec<usize> {
        (0..members.len()).filter(|at| taken[*at] && members[*at].side == side).collect()
    };
    let (lefts, rights) = (of_side(0), of_side(1));
    let mut found = Outcome::default();
    let partners = |at: &usize| -> u64 {
        let (time, is_left) = (members[*at].time, members[*at].side == 0);
        let others = if is_left { &rights } else { &lefts };
        let until = |limit: i64| others.partition_point(|other| members[*other].time <= limit) as u64;
        match join.time {
            _ if has_null => 0,
            JoinTime::Window(_) => others.len() as u64,
            JoinTime::Within { before, after } => {
                let (before, after) = if is_left { (before, after) } else { (after, before) };
                until(time.saturating_add(after)) - until(time.saturating_sub(before).saturating_sub(1))
            }
            JoinTime::AsOf { .. } => until(time),
        }
    };
    if let JoinTime::AsOf { max_age } = join.time {
        for left in &lefts {
            let time = members[*left].time;
            let version = (partners(left) as usize).checked_sub(1).map(|last| rights[last]);
            let version =
                version.filter(|at| max_age.is_none_or(|most| time.saturating_sub(members[*at].time) <= most));
            if version.is_some() || join.kind.keeps(0) {
                found.versions.insert(*left, version);
            }
        }
        return found;
    }
    found.pairs = lefts.iter().map(&partners).sum();
    for (_, rows) in [&lefts, &rights].into_iter().enumerate().filter(|(side, _)| join.kind.keeps(*side)) {
        found.alone.extend(rows.iter().filter(|at| partners(at) == 0));
    }
    found
}
