//! Data-quality rules: what becomes of rows that break one.
//!
//! The rules of a step see its rows after row work. A row breaks a rule that is not true for it; null is not true. Every
//! rule is asked of every row, and each counts the rows that break it; what becomes of a row is said by the first one
//! that it breaks.

use arrow::array::Array;

use crate::fold::Checked;
use crate::plan::{OnBroken, Rule, StepPlan};
use crate::rows::{Batch, Failures, evaluate_filter};
use crate::task::{Aside, Engine};

impl Engine {
    /// Returns the rows that break no rule of the step; counts and keeps aside the others.
    pub(crate) fn check_rules(
        &self,
        index: usize,
        step: &StepPlan,
        rows: Batch,
        asides: &mut Vec<Aside>,
        checked: &mut Vec<Checked>,
    ) -> Batch {
        if step.rules.is_empty() || rows.len() == 0 {
            return rows;
        }
        let mut failures = Failures::new();
        let holds: Vec<_> =
            step.rules.iter().map(|rule| evaluate_filter(&rule.expr, &rows.columns, &mut failures)).collect();
        let mut broken = vec![0; step.rules.len()];
        let (mut kept, mut quarantined, mut fatal) = (Vec::new(), Vec::new(), Vec::new());
        for row in (0..rows.len() as u32).filter(|row| !failures.contains_key(row)) {
            let at = row as usize;
            let mut first = None;
            for (rule, holds) in holds.iter().enumerate() {
                if holds.is_null(at) || !holds.value(at) {
                    broken[rule] += 1;
                    first = first.or(Some(rule));
                }
            }
            let Some(rule) = first.map(|rule| &step.rules[rule]) else {
                kept.push(row);
                continue;
            };
            match rule.otherwise {
                OnBroken::Quarantine => quarantined.push((row, reason(rule))),
                OnBroken::Fail => fatal.push((row, reason(rule))),
                OnBroken::Drop => {}
            }
        }
        let rows_checked = (rows.len() - failures.len()) as u64;
        checked.extend(broken.into_iter().enumerate().map(|(rule, broken)| Checked {
            step: index,
            rule,
            rows: rows_checked,
            broken,
        }));
        quarantined.extend(failures);
        quarantined.sort_unstable_by_key(|(row, _)| *row);
        self.keep_failed(index, &rows, quarantined, asides);
        if !fatal.is_empty() {
            self.keep_failed(index, &rows, fatal, asides);
            asides.last_mut().expect("it was put there just now").ends_run = true;
        }
        if kept.len() == rows.len() { rows } else { rows.take(&kept) }
    }
}

fn reason(rule: &Rule) -> String {
    format!("check {}: {} is not true", rule.name, rule.expr)
}
