//! Exponential back-off.

use std::time::Duration;

/// Delays that double from `base` to `cap`.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    /// First delay.
    pub base: Duration,
    /// Longest delay.
    pub cap: Duration,
}

impl Exponential {
    /// Delay before the retry after `failures` earlier failures.
    pub fn delay(&self, failures: u32) -> Duration {
        // 2^63 of anything is beyond every cap, and the multiplication saturates.
        let factor = 1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The same, stretched by up to `fraction` at random, so that clients do not come back together.
    pub fn jittered(&self, failures: u32, fraction: f64) -> Duration {
        let delay = self.delay(failures);
        delay + delay.mul_f64(fraction.clamp(0.0, 1.0) * rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap() {
        let backoff = Exponential { base: Duration::from_millis(5), cap: Duration::from_secs(1000) };
        let delays: Vec<u128> = (0..4).map(|n| backoff.delay(n).as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40]);
        assert_eq!(backoff.delay(30), Duration::from_secs(1000));
        assert_eq!(backoff.delay(u32::MAX), Duration::from_secs(1000));
    }
}
