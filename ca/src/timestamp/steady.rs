//! The clock of an authority: it never goes back, and where the machine's does, it stops.
//!
//! Invariant: no time is given out that is earlier than one given out before, or than the floor of the start. A step
//! back by at most [`TOLERANCE`] is answered with the latest time, which is then no further off than the accuracy that
//! every timestamp states. A larger one stops the clock until the machine's has caught up: one of the two times was
//! wrong, and which one cannot be known here. So a machine whose clock ran ahead by an hour, and was set right, stamps
//! nothing for an hour, or until it is restarted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_tlog::clock::{Clock, Timestamp};

/// The largest step back that does not stop the clock.
pub const TOLERANCE: Duration = super::ACCURACY;

/// The machine's clock stepped back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock shows {now}, but {latest} has already been signed; set the clock right, or wait")]
pub struct ClockStepped {
    /// What the machine's clock shows.
    pub now: Timestamp,
    /// The latest time given out.
    pub latest: Timestamp,
}

impl ClockStepped {
    /// How long until the clock has caught up, in whole seconds, at least one.
    pub fn seconds_behind(&self) -> u64 {
        (self.latest.millis().saturating_sub(self.now.millis())).div_ceil(1000).max(1)
    }
}

/// A clock over another one.
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    latest: Timestamp,
    stopped: bool,
}

impl SteadyClock {
    /// A clock that never shows a time before `floor`.
    pub fn new(clock: Arc<dyn Clock>, floor: Timestamp) -> Self {
        Self { clock, state: Mutex::new(State { latest: floor, stopped: false }) }
    }

    /// What [`SteadyClock::now`] would say. Nothing is given out, so a look binds nobody.
    pub fn peek(&self) -> Result<Timestamp, ClockStepped> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now >= state.latest {
            Ok(now)
        } else if !state.stopped && now.plus(TOLERANCE) >= state.latest {
            Ok(state.latest)
        } else {
            Err(ClockStepped { now, latest: state.latest })
        }
    }

    /// The time, or why it is not known.
    pub fn now(&self) -> Result<Timestamp, ClockStepped> {
        // No panic is possible while the lock is held, so a poisoned state is a whole one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: read before it, two requests could overtake each other and look like a step.
        let now = self.clock.now();
        if now >= state.latest {
            if std::mem::take(&mut state.stopped) {
                tracing::warn!(%now, "the clock has caught up; timestamps are made again");
            }
            state.latest = now;
            return Ok(now);
        }
        let stepped = ClockStepped { now, latest: state.latest };
        if !state.stopped && now.plus(TOLERANCE) >= state.latest {
            return Ok(state.latest);
        }
        if !std::mem::replace(&mut state.stopped, true) {
            tracing::error!(%stepped, "no timestamps are made until the clock has caught up");
        }
        Err(stepped)
    }
}

#[cfg(test)]
mod tests {
    use chancery_tlog::clock::FixedClock;

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_262_400);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(START.millis().checked_add_signed(millis).unwrap())
    }

    #[test]
    fn a_step_back_beyond_the_tolerance_stops_it_until_it_has_caught_up() {
        let machine = Arc::new(FixedClock::new(START));
        let clock = SteadyClock::new(machine.clone(), Timestamp::default());
        assert_eq!(clock.now(), Ok(START));
        for (millis, running) in [(-1001, false), (-500, false), (-1, false), (0, true), (1, true)] {
            machine.set(at(millis));
            let stepped = ClockStepped { now: at(millis), latest: START };
            assert_eq!(clock.now(), if running { Ok(at(millis)) } else { Err(stepped) }, "{millis}");
        }
    }

    #[test]
    fn a_step_back_within_the_tolerance_shows_the_latest_time() {
        let machine = Arc::new(FixedClock::new(START));
        let clock = SteadyClock::new(machine.clone(), Timestamp::default());
        clock.now().unwrap();
        for millis in [-1000, -1, -1000] {
            machine.set(at(millis));
            assert_eq!(clock.now(), Ok(START));
        }
    }

    #[test]
    fn steps_within_the_tolerance_do_not_add_up() {
        let machine = Arc::new(FixedClock::new(START));
        let clock = SteadyClock::new(machine.clone(), Timestamp::default());
        clock.now().unwrap();
        machine.set(at(-900));
        clock.now().unwrap();
        machine.set(at(-1800));
        assert!(clock.now().is_err());
    }

    #[test]
    fn looking_at_it_gives_no_time_out() {
        let machine = Arc::new(FixedClock::new(START));
        let clock = SteadyClock::new(machine.clone(), Timestamp::default());
        clock.now().unwrap();
        for (millis, running) in [(60_000, true), (0, true), (-1000, true), (-1001, false)] {
            machine.set(at(millis));
            assert_eq!(clock.peek().is_ok(), running, "{millis}");
        }
        machine.set(START);
        clock.now().unwrap();
    }

    #[test]
    fn the_floor_counts_as_given_out() {
        let machine = Arc::new(FixedClock::new(START));
        let clock = SteadyClock::new(machine, at(60_000));
        let stepped = clock.now().unwrap_err();
        assert_eq!(stepped.seconds_behind(), 60);
    }
}
