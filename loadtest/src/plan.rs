//! Which rates are offered: those that were asked for, or a ramp that finds the server's limit and goes past it.

/// A rate at which a log idles: one request has long ended when the next is due.
const IDLE: f64 = 10.0;
/// Where the ramp begins.
const FIRST: f64 = 100.0;
/// A server keeps up with what it accepts this share of.
const KEEPS_UP: f64 = 0.95;
/// Multiples of the peak that are offered once it is known: just below, and past saturation.
const AROUND_PEAK: [f64; 3] = [0.8, 1.5, 2.0];

/// Rates to offer, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// These.
    Rates(Vec<f64>),
    /// Idle, then doubled until the server no longer keeps up or `most` is reached, then around and past the peak.
    Ramp {
        /// Never offer more.
        most: f64,
    },
}

impl Plan {
    /// The rate to offer after those in `measured`: pairs of what was offered and what was accepted, per second.
    pub(crate) fn next(&self, measured: &[(f64, f64)]) -> Option<f64> {
        match self {
            Self::Rates(rates) => rates.get(measured.len()).copied(),
            Self::Ramp { most } => ramp(measured, *most),
        }
    }
}

fn ramp(measured: &[(f64, f64)], most: f64) -> Option<f64> {
    let saturated = measured.iter().position(|&(offered, accepted)| accepted < KEEPS_UP * offered);
    match saturated {
        None => {
            let next = match measured {
                [] => IDLE,
                [_] => FIRST,
                [.., (offered, _)] => offered * 2.0,
            };
            (next <= most).then_some(next)
        }
        Some(at) => {
            // The peak is that of the climb: what comes after it must not move the goal.
            let peak = measured[..=at].iter().map(|&(_, accepted)| accepted).fold(0.0, f64::max);
            let next = AROUND_PEAK.get(measured.len() - at - 1)? * peak;
            (next >= 1.0).then(|| next.min(most))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is offered to a server that accepts up to `limit` per second.
    fn offered(plan: &Plan, limit: f64) -> Vec<f64> {
        let mut measured = Vec::new();
        while let Some(rate) = plan.next(&measured) {
            assert!(measured.len() < 100, "a plan ends");
            measured.push((rate, rate.min(limit)));
        }
        measured.into_iter().map(|(rate, _)| rate).collect()
    }

    #[test]
    fn a_ramp_idles_doubles_to_the_limit_and_goes_past_it() {
        let rates = offered(&Plan::Ramp { most: 1e6 }, 1000.0);
        assert_eq!(rates, [10.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 800.0, 1500.0, 2000.0]);
    }

    #[test]
    fn a_ramp_never_exceeds_what_it_may() {
        assert_eq!(offered(&Plan::Ramp { most: 400.0 }, 1e6), [10.0, 100.0, 200.0, 400.0]);
        assert_eq!(
            offered(&Plan::Ramp { most: 800.0 }, 700.0),
            [10.0, 100.0, 200.0, 400.0, 800.0, 560.0, 800.0, 800.0]
        );
    }

    #[test]
    fn a_server_that_accepts_nothing_ends_the_ramp() {
        assert_eq!(offered(&Plan::Ramp { most: 1e6 }, 0.0), [10.0]);
    }

    #[test]
    fn rates_that_were_asked_for_are_offered_as_they_are() {
        assert_eq!(offered(&Plan::Rates(vec![5.0, 1.0]), 0.0), [5.0, 1.0]);
    }
}
