//! HyperLogLog as `approx_count_distinct` states it: 4,096 registers, each with the greatest rank of the hashes that
//! choose it, and Ertl's estimate from how many registers have each rank.

use xxhash_rust::xxh3::xxh3_64;

use crate::value::{Type, Value};

/// Returns the estimate for values that are not null.
pub(super) fn estimate_of(ty: Type, values: &[&Value]) -> i64 {
    let mut ranks = vec![0usize; 4096];
    for value in values {
        let hash = xxh3_64(&bytes(ty, value));
        let bits = format!("{hash:064b}");
        let (index, rest) = bits.split_at(12);
        let index = usize::from_str_radix(index, 2).expect("twelve binary digits");
        let rank = rest.find('1').unwrap_or(52) + 1;
        ranks[index] = ranks[index].max(rank);
    }
    let share = |rank: usize| ranks.iter().filter(|kept| **kept == rank).count() as f64 / 4096.0;
    // Σ over ranks 1 to 52 of the share of registers with it, divided by 2^rank; the first and last have terms of their own.
    let among: f64 = (1..=52).map(|rank| share(rank) / 2f64.powi(rank as i32)).sum();
    let harmonic = among + of_empty(share(0)) + of_full(1.0 - share(53)) / 2f64.powi(52);
    (4096.0 / (2.0 * 2f64.ln()) / harmonic).round() as i64
}

/// x + Σ x^(2^k) · 2^(k−1)
fn of_empty(x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    x + (1..80).map(|k| x.powf(2f64.powi(k)) * 2f64.powi(k - 1)).sum::<f64>()
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3
fn of_full(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    (1.0 - x - (1..80).map(|k| (1.0 - x.powf(2f64.powi(-k))).powi(2) * 2f64.powi(-k)).sum::<f64>()) / 3.0
}

fn bytes(ty: Type, value: &Value) -> Vec<u8> {
    match value {
        Value::Null => unreachable!("nulls are skipped"),
        Value::Bool(x) => vec![u8::from(*x)],
        Value::Int(x) if ty == Type::Int32 => (*x as i32).to_le_bytes().to_vec(),
        Value::Int(x) | Value::Time(x) => x.to_le_bytes().to_vec(),
        Value::Float(x) => x.to_bits().to_le_bytes().to_vec(),
        Value::Decimal(x) => x.to_le_bytes().to_vec(),
        Value::Text(x) => x.as_bytes().to_vec(),
        Value::Date(x) => x.to_le_bytes().to_vec(),
        Value::Binary(x) => x.clone(),
        Value::List(_) | Value::Struct(_) | Value::Json(_) => unreachable!("no random case counts these"),
    }
}
