//! Makes a failing case smaller while it still fails.

use crate::case::Case;
use crate::case::log::Record;

/// Returns a case that fails too and from which nothing can be taken away; tries at most `attempts` smaller ones.
pub fn shrink(case: &Case, attempts: usize, fails: &dyn Fn(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let mut left = attempts;
    let mut try_it = |candidate: Case, best: &mut Case| {
        if left == 0 || !candidate.pipeline.is_valid() {
            return false;
        }
        left -= 1;
        let is_failing = fails(&candidate);
        if is_failing {
            *best = candidate;
        }
        is_failing
    };
    loop {
        let mut smaller = false;
        for reduce in [partitions, steps, row_work, window_work] {
            let mut index = 0;
            // Each index stands for one thing to take away; after a success the next thing has the same index.
            while let Some(candidate) = reduce(&best, index) {
                if try_it(candidate, &mut best) {
                    smaller = true;
                } else {
                    index += 1;
                }
            }
        }
        smaller |= records(&mut best, &mut try_it);
        if !smaller {
            return best;
        }
    }
}

fn changed(case: &Case, change: impl FnOnce(&mut Case) -> Option<()>) -> Option<Case> {
    let mut case = case.clone();
    change(&mut case)?;
    Some(case)
}

fn partitions(case: &Case, index: usize) -> Option<Case> {
    changed(case, |case| {
        let gone = case.log.partitions.get(index)?.clone();
        case.log.partitions.remove(index);
        if let Some(chosen) = &mut case.pipeline.sources[gone.source].partitions {
            chosen.retain(|other| *other != gone.partition);
        }
        let source = &case.pipeline.sources[gone.source];
        let mut rest = case.log.partitions.iter().filter(|partition| partition.source == gone.source);
        if !rest.any(|partition| source.reads(partition.partition)) {
            *case = broken(case); // a source without partitions is refused
        }
        Some(())
    })
}

/// Takes away the step of that index, counted from the last; steps that read it read what it read.
fn steps(case: &Case, index: usize) -> Option<Case> {
    changed(case, |case| {
        let at = case.pipeline.steps.len().checked_sub(index + 1)?;
        let step = case.pipeline.steps.remove(at);
        for other in &mut case.pipeline.steps {
            if let Some(place) = other.from.iter().position(|from| *from == step.name) {
                other.from.splice(place..=place, step.from.clone());
            }
        }
        for source in (0..case.pipeline.sources.len()).rev() {
            if case.pipeline.steps.iter().all(|step| !step.from.contains(&case.pipeline.sources[source].name)) {
                case.pipeline.sources.remove(source);
                case.log.partitions.retain(|partition| partition.source != source);
                let later = case.log.partitions.iter_mut().filter(|partition| partition.source > source);
                later.for_each(|partition| partition.source -= 1);
            }
        }
        Some(())
    })
}

fn row_work(case: &Case, index: usize) -> Option<Case> {
    changed(case, |case| {
        let step = case.pipeline.steps.get_mut(index / 13)?;
        match index % 13 {
            11 => step.explode = None,
            12 => step.part = None,
            0 => step.filter = None,
            1 => step.drop.clear(),
            2 => step.select = None,
            3 => step.derive.clear(),
            4 => drop(step.derive.pop()),
            5 => step.tag = None,
            7 => step.dedup = None,
            9 => step.lookup = None,
            8 => drop(step.rules.pop()),
            6 if step.join.is_some() => {}
            6 if step.from.len() > 1 => drop(step.from.pop()),
            6 => {}
            _ => drop(step.select.as_mut().and_then(Vec::pop)),
        }
        Some(())
    })
    .filter(|smaller| size(smaller) < size(case))
    .or_else(|| (index / 13 < case.pipeline.steps.len()).then(|| broken(case)))
}

fn window_work(case: &Case, index: usize) -> Option<Case> {
    changed(case, |case| {
        let step = case.pipeline.steps.get_mut(index / 16)?;
        let Some(window) = &mut step.window else { return Some(()) };
        match index % 16 {
            0 => window.having = None,
            1 => window.top = None,
            2 => window.allowed = 0,
            place @ 3..6 if place - 3 < window.keys.len() => drop(window.keys.remove(place - 3)),
            place @ 6.. if place - 6 < window.aggregates.len() && window.aggregates.len() > 1 => {
                drop(window.aggregates.remove(place - 6))
            }
            _ => {}
        }
        Some(())
    })
    .filter(|smaller| size(smaller) < size(case))
    .or_else(|| (index / 16 < case.pipeline.steps.len()).then(|| broken(case)))
}

/// How much there is to take away.
fn size(case: &Case) -> usize {
    case.pipeline.yaml().len()
}

/// A case that is not tried: stands for an index at which there is nothing to take away.
fn broken(case: &Case) -> Case {
    let mut case = case.clone();
    case.pipeline.steps.clear();
    case
}

/// Takes away runs of records, longer ones first.
fn records(best: &mut Case, try_it: &mut dyn FnMut(Case, &mut Case) -> bool) -> bool {
    let mut smaller = false;
    let mut length = best.log.len().div_ceil(2);
    while length > 0 {
        let mut from = 0;
        while from < best.log.len() {
            let mut candidate = best.clone();
            let mut number = 0;
            for partition in &mut candidate.log.partitions {
                partition.records.retain(|_: &Record| {
                    number += 1;
                    !(from < number && number <= from + length)
                });
            }
            if try_it(candidate, best) {
                smaller = true;
            } else {
                from += length;
            }
        }
        length /= 2;
    }
    smaller
}
