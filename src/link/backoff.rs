//! Delays between attempts: doubling from a first to a longest, each shortened by a random part (jitter), so that a
//! thousand agents do not come back in the same instant.

use std::time::Duration;

use rand::RngExt;

/// Growing delays between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` doubling to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next delay: between half and all of the nominal one.
    pub fn delay(&mut self) -> Duration {
        let nominal = self.next.min(self.longest);
        self.next = nominal.saturating_mul(2).min(self.longest);
        nominal.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Starts over, after something worked.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_longest_within_their_jitter() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for nominal in [100, 200, 350, 350, 350] {
            let delay = backoff.delay();
            assert!(
                delay >= Duration::from_millis(nominal / 2),
                "{delay:?} of {nominal}"
            );
            assert!(
                delay <= Duration::from_millis(nominal),
                "{delay:?} of {nominal}"
            );
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(100));
    }
}
