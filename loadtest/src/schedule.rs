//! Arrivals: when each request is due, fixed before the first one is sent.
//!
//! Invariant: the times depend on the offered rate alone, never on how the server does. That is what makes the load
//! open-loop: a stalled server meets the same arrivals as a quick one.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// The same distance between any two.
    Even,
    /// Exponentially distributed distances, as of many independent clients.
    Poisson,
}

/// The arrivals of `span` at `rate` per second, from the start of the load. At least one.
pub(crate) fn arrivals(rate: f64, span: Duration, spacing: Spacing, seed: u64) -> Vec<Duration> {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut at, mut number) = (0.0, 0.0);
    let mut times = vec![Duration::ZERO];
    loop {
        number += 1.0;
        at = match spacing {
            // Not a sum, whose rounding would let one more in at the end.
            Spacing::Even => number / rate,
            // 1 - u lies in (0, 1], so the logarithm is finite.
            Spacing::Poisson => at - (1.0 - random.random::<f64>()).ln() / rate,
        };
        if at >= span.as_secs_f64() {
            return times;
        }
        times.push(Duration::from_secs_f64(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_are_as_many_as_the_rate_says() {
        assert_eq!(arrivals(5.0, Duration::from_secs(2), Spacing::Even, 0).len(), 10);
        let times = arrivals(100.0, Duration::from_secs(2), Spacing::Even, 0);
        assert_eq!(times.len(), 200);
        assert!(times.windows(2).all(|pair| {
            (pair[1].saturating_sub(pair[0])).abs_diff(Duration::from_millis(10)).as_micros() < 2
        }));
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_not_the_regularity() {
        let times = arrivals(1000.0, Duration::from_secs(20), Spacing::Poisson, 7);
        // Five standard deviations: 20,000 ± 5·√20,000.
        assert!((19_290..=20_710).contains(&times.len()), "{}", times.len());
        let short = times
            .windows(2)
            .filter(|pair| pair[1].saturating_sub(pair[0]) < Duration::from_micros(500))
            .count();
        assert!(short * 3 > times.len(), "39 % of the distances lie below half the mean: {short}");
    }

    #[test]
    fn a_rate_too_low_for_its_span_still_sends_one() {
        assert_eq!(arrivals(0.01, Duration::from_secs(1), Spacing::Even, 0), [Duration::ZERO]);
    }
}
