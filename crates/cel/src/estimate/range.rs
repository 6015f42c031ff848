//! From how much to how much: sizes and costs before there are values.

/// A least and a greatest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub min: u64,
    /// At most; the largest number where there is no bound.
    pub max: u64,
}

impl Range {
    /// Nobody knows.
    pub const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

    /// Exactly this.
    pub const fn exactly(n: u64) -> Self {
        Self { min: n, max: n }
    }

    /// The sum.
    pub fn plus(self, other: Range) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    /// The product.
    pub fn times(self, other: Range) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Times a factor, rounded up.
    pub fn by(self, factor: f64) -> Self {
        Self { min: by(self.min, factor), max: by(self.max, factor) }
    }

    /// What holds both.
    pub fn union(self, other: Range) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Casts from floats saturate, which is what upstream's checks for overflow come to.
fn by(n: u64, factor: f64) -> u64 {
    (n as f64 * factor).ceil() as u64
}
