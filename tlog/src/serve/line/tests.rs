//! The line without a server around it: time is tokio's, and futures are polled by hand.

use std::future::{pending, ready};

use futures::{FutureExt as _, poll};
use proptest::prelude::*;

use super::*;

const WAITS: Waits = Waits { patience: Duration::from_millis(500), limit: Duration::from_secs(2) };
const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

/// Whether a turn is had without waiting.
fn at_once(line: &Line) -> bool {
    line.turn(A).now_or_never().is_some()
}

#[tokio::test]
async fn no_more_compute_at_a_time_than_there_are_turns() {
    let line = Line::new(2, WAITS);
    let first = line.turn(A).await.unwrap();
    let _second = line.turn(A).await.unwrap();
    assert!(!at_once(&line));
    drop(first);
    assert!(at_once(&line));
}

#[tokio::test]
async fn a_turn_ends_when_its_work_first_waits() {
    let line = Line::new(1, WAITS);
    let mut waits = Box::pin(line.run(A, pending::<()>()));
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(line.run(A, ready(7)).await, Ok(7));
    drop(waits);
    assert!(at_once(&line));
}

#[tokio::test]
async fn turns_of_an_address_come_in_order() {
    let line = Line::new(1, WAITS);
    let mut turn = line.turn(A).await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(line.turn(A))).collect();
    for one in &mut waiting {
        assert!(poll!(one).is_pending());
    }
    assert_eq!(line.len(), 3);
    for (at, mut next) in waiting.into_iter().enumerate() {
        assert!(poll!(&mut next).is_pending(), "{at}");
        drop(turn);
        turn = next.await.unwrap();
        assert_eq!(line.len(), 2 - at);
    }
}

#[tokio::test]
async fn an_address_with_many_requests_does_not_stand_before_another() {
    let line = Line::new(1, WAITS);
    let turn = line.turn(A).await.unwrap();
    let mut many: Vec<_> = (0..100).map(|_| Box::pin(line.turn(A))).collect();
    for one in &mut many {
        assert!(poll!(one).is_pending());
    }
    let mut other = Box::pin(line.turn(B));
    assert!(poll!(&mut other).is_pending());
    drop(turn);
    // The first of the many was there before; the other is next.
    let first = many.remove(0).await.unwrap();
    assert!(poll!(&mut other).is_pending());
    drop(first);
    other.await.unwrap();
}

proptest! {
    /// However clients come, wait and go, a turn is never lost and never made.
    #[test]
    fn turns_are_neither_lost_nor_made(
        turns in 1_usize..4,
        steps in proptest::collection::vec((0_u8..3, 0_u8..5, 0_usize..20), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let line = Line::new(turns, WAITS);
            let (mut waiting, mut held) = (Vec::new(), Vec::new());
            for (step, from, at) in steps {
                match step {
                    0 => {
                        let line = line.clone();
                        let address = Some(IpAddr::from([192, 0, 2, from]));
                        waiting.push(Box::pin(async move { line.turn(address).await }));
                    }
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(at % waiting.len())),
                    _ if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                    _ => {}
                }
                let mut still = Vec::new();
                for mut one in waiting {
                    match poll!(&mut one) {
                        Poll::Ready(turn) => held.extend(turn.ok()),
                        Poll::Pending => still.push(one),
                    }
                }
                waiting = still;
                assert!(held.len() <= turns);
            }
            drop((waiting, held));
            let all: Vec<_> = (0..turns).filter_map(|_| line.turn(A).now_or_never()).collect();
            assert_eq!(all.len(), turns);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn newcomers_are_refused_while_the_line_is_longer_than_patience() {
    let line = Line::new(1, WAITS);
    let turn = line.turn(A).await.unwrap();
    let mut second = Box::pin(line.turn(A));
    assert!(poll!(&mut second).is_pending());
    assert_eq!(line.check(A), Ok(()), "nothing is known yet");
    tokio::time::advance(WAITS.patience + Duration::from_millis(1)).await;
    drop(turn);
    let turn = second.await.unwrap();
    assert_eq!(line.check(A), Ok(()), "nothing waits");
    let mut third = Box::pin(line.turn(A));
    assert!(poll!(&mut third).is_pending());
    assert_eq!(line.check(A), Err(Refused::Expected));
    // One that leaves the line makes it shorter.
    drop(third);
    assert_eq!(line.check(A), Ok(()));
    drop(turn);
}

#[tokio::test]
async fn a_long_line_of_one_address_is_short_for_another() {
    let line = Line::new(1, WAITS);
    line.learn(Duration::from_millis(20), 0);
    let _turn = line.turn(A).await.unwrap();
    let mut many: Vec<_> = (0..100).map(|_| Box::pin(line.turn(A))).collect();
    for one in &mut many {
        assert!(poll!(one).is_pending());
    }
    assert_eq!(line.check(A), Err(Refused::Expected));
    assert_eq!(line.check(B), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_pace_that_was_slow_once_is_forgotten() {
    let line = Line::new(1, WAITS);
    line.learn(WAITS.limit, 0);
    for _ in 0..10 * MEMORY {
        line.learn(Duration::from_micros(300), 0);
    }
    assert!(line.0.pace.load(Ordering::Relaxed) < 1_000_000, "{line:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_too_long_is_refused_and_its_turn_goes_on() {
    let line = Line::new(1, WAITS);
    let turn = line.turn(A).await.unwrap();
    let mut late = Box::pin(line.run(A, async { panic!("work was begun for a client that has gone") }));
    assert!(poll!(&mut late).is_pending());
    tokio::time::advance(WAITS.limit + Duration::from_millis(1)).await;
    let mut next = Box::pin(line.turn(A));
    assert!(poll!(&mut next).is_pending());
    drop(turn);
    assert_eq!(late.await, Err::<(), _>(Refused::Waited));
    next.await.unwrap();
}
