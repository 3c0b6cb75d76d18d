//! Integers of any size and the one rounding to a double: slow, short, obviously right.

use std::cmp::Ordering;

/// An integer of any size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Big {
    negative: bool,
    /// 32 bits each, least first, the last not zero. Zero has none.
    limbs: Vec<u32>,
}

impl Big {
    pub(crate) fn zero() -> Self {
        Self { negative: false, limbs: Vec::new() }
    }

    fn new(negative: bool, mut limbs: Vec<u32>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self { negative: negative && !limbs.is_empty(), limbs }
    }

    pub(crate) fn from(x: i128) -> Self {
        let magnitude = x.unsigned_abs();
        Self::new(x < 0, (0..4).map(|i| (magnitude >> (32 * i)) as u32).collect())
    }

    /// Returns it as an i128, if it fits.
    pub(crate) fn to_i128(&self) -> Option<i128> {
        let mut magnitude: u128 = 0;
        for (i, limb) in self.limbs.iter().enumerate() {
            if i >= 4 {
                return None;
            }
            magnitude |= u128::from(*limb) << (32 * i);
        }
        if self.negative { 0i128.checked_sub_unsigned(magnitude) } else { i128::try_from(magnitude).ok() }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    fn bits(&self) -> i64 {
        self.limbs.last().map_or(0, |last| 32 * self.limbs.len() as i64 - i64::from(last.leading_zeros()))
    }

    pub(crate) fn shifted(&self, bits: u64) -> Self {
        let (whole, part) = ((bits / 32) as usize, bits % 32);
        let mut limbs = vec![0; whole];
        let mut carry = 0u64;
        for limb in &self.limbs {
            let wide = (u64::from(*limb) << part) | carry;
            limbs.push(wide as u32);
            carry = wide >> 32;
        }
        limbs.push(carry as u32);
        Self::new(self.negative, limbs)
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.limbs.len().cmp(&other.limbs.len()).then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    fn add_magnitude(&self, other: &Self) -> Vec<u32> {
        let mut carry = 0u64;
        let mut limbs = Vec::new();
        for i in 0..self.limbs.len().max(other.limbs.len()) {
            let sum =
                u64::from(*self.limbs.get(i).unwrap_or(&0)) + u64::from(*other.limbs.get(i).unwrap_or(&0)) + carry;
            limbs.push(sum as u32);
            carry = sum >> 32;
        }
        limbs.push(carry as u32);
        limbs
    }

    /// `|self| − |other|` where `|self| >= |other|`.
    fn subtract_magnitude(&self, other: &Self) -> Vec<u32> {
        let mut borrow = 0i64;
        let mut limbs = Vec::new();
        for (i, limb) in self.limbs.iter().enumerate() {
            let mut difference = i64::from(*limb) - i64::from(*other.limbs.get(i).unwrap_or(&0)) - borrow;
            borrow = i64::from(difference < 0);
            if difference < 0 {
                difference += 1 << 32;
            }
            limbs.push(difference as u32);
        }
        limbs
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            return Self::new(self.negative, self.add_magnitude(other));
        }
        match self.compare_magnitude(other) {
            Ordering::Less => Self::new(other.negative, other.subtract_magnitude(self)),
            _ => Self::new(self.negative, self.subtract_magnitude(other)),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.plus(&Self::new(!other.negative, other.limbs.clone()))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0u32; self.limbs.len() + other.limbs.len() + 1];
        for (i, a) in self.limbs.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.limbs.iter().enumerate() {
                let wide = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = wide as u32;
                carry = wide >> 32;
            }
            limbs[i + other.limbs.len()] = carry as u32;
        }
        Self::new(self.negative != other.negative, limbs)
    }
}

/// Returns the double nearest to `numerator / denominator · 2^exponent`, ties to even; `denominator > 0`.
pub(crate) fn nearest(numerator: &Big, denominator: &Big, exponent: i64) -> f64 {
    if numerator.is_zero() {
        return 0.0;
    }
    // The quotient gets 66 or 67 bits, more than a double holds, and the remainder says whether anything is below.
    let shift = 66 + denominator.bits() - numerator.bits();
    let magnitude = Big { negative: false, limbs: numerator.limbs.clone() };
    let (mut rest, divisor) = if shift >= 0 {
        (magnitude.shifted(shift as u64), denominator.clone())
    } else {
        (magnitude, denominator.shifted(-shift as u64))
    };
    let mut quotient = 0u128;
    for bit in (0..68).rev() {
        let part = divisor.shifted(bit);
        if rest.compare_magnitude(&part) != Ordering::Less {
            rest = rest.minus(&part);
            quotient |= 1 << bit;
        }
    }
    let magnitude = round(quotient, !rest.is_zero(), exponent - shift);
    if numerator.negative { -magnitude } else { magnitude }
}

/// Returns the double nearest to `(quotient + a bit more, if more) · 2^exponent`.
fn round(quotient: u128, more: bool, exponent: i64) -> f64 {
    let top = 127 - i64::from(quotient.leading_zeros()) + exponent;
    if top > 1023 {
        return f64::INFINITY;
    }
    let mut lowest = (top - 52).max(-1074);
    let dropped = lowest - exponent;
    if dropped > 126 {
        return 0.0; // at most 2^68 · 2^exponent, far below half of the least double
    }
    let mut kept = quotient >> dropped;
    let half = (quotient >> (dropped - 1)) & 1 == 1;
    let below = more || quotient & ((1 << (dropped - 1)) - 1) != 0;
    if half && (below || kept & 1 == 1) {
        kept += 1;
    }
    if kept == 1 << 53 {
        kept >>= 1;
        lowest += 1;
    }
    if kept < 1 << 52 {
        return f64::from_bits(kept as u64); // subnormal: lowest is −1074
    }
    let field = lowest + 52 + 1023;
    if field >= 2047 {
        return f64::INFINITY;
    }
    f64::from_bits((field as u64) << 52 | (kept as u64 & ((1 << 52) - 1)))
}

/// Returns integer and exponent of a finite double: `x = integer · 2^exponent`.
pub(crate) fn split(x: f64) -> (i64, i64) {
    let bits = x.to_bits();
    let (field, fraction) = ((bits >> 52 & 0x7ff) as i64, (bits & ((1 << 52) - 1)) as i64);
    let (integer, exponent) = if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
    (if bits >> 63 == 1 { -integer } else { integer }, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_double_survives_being_split_and_rounded() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let x = f64::from_bits(random.bits());
            if x.is_finite() {
                let (integer, exponent) = split(x);
                assert_eq!(nearest(&Big::from(integer.into()), &Big::from(1), exponent), x);
            }
        }
    }

    #[test]
    fn quotients_of_doubles_are_rounded_like_the_processor_does() {
        let mut random = Random::new(2);
        for _ in 0..10_000 {
            let (a, b) = (f64::from_bits(random.bits()), f64::from_bits(random.bits() & !(1 << 63)));
            if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
                continue;
            }
            let ((n, e), (d, f)) = (split(a), split(b));
            let ours = nearest(&Big::from(n.into()), &Big::from(d.into()), e - f);
            assert_eq!(ours, a / b, "{a:e} / {b:e}");
        }
    }

    #[test]
    fn sums_and_products_agree_with_i128() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let (a, b) =
                (random.bits() as i64 as i128 >> random.below(60), random.bits() as i64 as i128 >> random.below(60));
            assert_eq!(Big::from(a).plus(&Big::from(b)).to_i128(), Some(a + b));
            assert_eq!(Big::from(a).minus(&Big::from(b)).to_i128(), Some(a - b));
            assert_eq!(Big::from(a).times(&Big::from(b)).to_i128(), Some(a * b));
        }
        assert_eq!(Big::from(i128::MIN).to_i128(), Some(i128::MIN));
        assert_eq!(Big::from(i128::MAX).plus(&Big::from(1)).to_i128(), None);
    }
}
