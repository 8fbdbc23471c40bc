//! The one rule about time: an instance of a trusted root counts for what was done while it was trusted.
//!
//! The same rule holds for attestation logs, issuance logs, certificate authorities and timestamp
//! authorities. A key that was stolen after its end can sign any time, so the rule asks for every time that
//! is known and not for one of them: the word of the judged key itself is never the only one where there is
//! another. Both ends are inclusive, as in the clients of Sigstore.

use crate::clock::Timestamp;

/// The period in which an instance may have been used; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub start: Timestamp,
    /// End; open if `None`.
    pub end: Option<Timestamp>,
}

/// A piece of verified evidence about when something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// At this time: a log's or a timestamp authority's signed time.
    At(Timestamp),
    /// At some time between the two, such as the life of the certificate that was used.
    Within(Timestamp, Timestamp),
}

impl Known {
    const fn earliest(self) -> Timestamp {
        let (Self::At(time) | Self::Within(time, _)) = self;
        time
    }

    const fn latest(self) -> Timestamp {
        let (Self::At(time) | Self::Within(_, time)) = self;
        time
    }
}

/// The reason why something does not count; its text continues "is not trusted".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outside {
    /// Used before the start.
    #[error("at {at}: its trust starts at {start}")]
    Early {
        /// When it was used.
        at: Timestamp,
        /// The start.
        start: Timestamp,
    },
    /// Used after the end.
    #[error("at {at}: its trust ended at {end}")]
    Late {
        /// When it was used.
        at: Timestamp,
        /// The end.
        end: Timestamp,
    },
    /// There is an end, and no evidence that it was used before.
    #[error("without a known time: its trust ends at {end}")]
    Undated {
        /// The end.
        end: Timestamp,
    },
}

impl Validity {
    /// Judges a use by all that is known of its time. Every time must lie within the period; where the period
    /// has an end, at least one must prove a use before it.
    pub fn covers(&self, known: &[Known]) -> Result<(), Outside> {
        for time in known {
            if time.latest() < self.start {
                return Err(Outside::Early { at: time.latest(), start: self.start });
            }
            if let Some(end) = self.end.filter(|end| time.earliest() > *end) {
                return Err(Outside::Late { at: time.earliest(), end });
            }
        }
        match self.end {
            Some(end) if !known.iter().any(|time| time.latest() <= end) => Err(Outside::Undated { end }),
            _ => Ok(()),
        }
    }

    /// Whether `at` lies within.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.covers(&[Known::At(at)]).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    const PERIOD: Validity = Validity { start: at(10), end: Some(at(20)) };
    const OPEN: Validity = Validity { start: at(10), end: None };

    #[test]
    fn both_ends_are_inside_and_everything_beyond_is_not() {
        let (start, end) = (at(10), at(20));
        let millisecond = std::time::Duration::from_millis(1);
        let early = start.minus(millisecond);
        let late = end.plus(millisecond);
        for inside in [start, at(15), end] {
            assert_eq!(PERIOD.covers(&[Known::At(inside)]), Ok(()));
        }
        assert_eq!(PERIOD.covers(&[Known::At(early)]), Err(Outside::Early { at: early, start }));
        assert_eq!(PERIOD.covers(&[Known::At(late)]), Err(Outside::Late { at: late, end }));
        assert_eq!(OPEN.covers(&[Known::At(early)]), Err(Outside::Early { at: early, start }));
        assert_eq!(OPEN.covers(&[Known::At(late)]), Ok(()));
    }

    #[test]
    fn without_a_time_an_end_refuses() {
        assert_eq!(OPEN.covers(&[]), Ok(()));
        assert_eq!(PERIOD.covers(&[]), Err(Outside::Undated { end: at(20) }));
        let life = |from, to| [Known::Within(at(from), at(to))];
        assert_eq!(PERIOD.covers(&life(12, 20)), Ok(()));
        assert_eq!(PERIOD.covers(&life(12, 21)), Err(Outside::Undated { end: at(20) }));
        assert_eq!(PERIOD.covers(&life(21, 22)), Err(Outside::Late { at: at(21), end: at(20) }));
        assert_eq!(PERIOD.covers(&life(5, 9)), Err(Outside::Early { at: at(9), start: at(10) }));
        assert_eq!(PERIOD.covers(&life(5, 12)), Ok(()));
    }

    fn any_known() -> impl Strategy<Value = Known> {
        prop_oneof![
            (0_u64..40).prop_map(|time| Known::At(at(time))),
            (0_u64..40, 0_u64..10).prop_map(|(from, life)| Known::Within(at(from), at(from + life))),
        ]
    }

    proptest! {
        /// Evidence can only take trust away, except that the first dates the use.
        #[test]
        fn more_evidence_never_helps_where_a_time_is_known(
            known in prop::collection::vec(any_known(), 0..5), time in 0_u64..40, end in prop::option::of(10_u64..40)
        ) {
            let period = Validity { start: at(10), end: end.map(at) };
            let dated = [Known::At(at(time))];
            let all = [&dated[..], &known].concat();
            if period.covers(&all).is_ok() {
                prop_assert_eq!(period.covers(&dated), Ok(()));
                prop_assert!(all.iter().all(|it| period.covers(&[it.to_owned(), dated[0]]).is_ok()));
            }
        }
    }
}
