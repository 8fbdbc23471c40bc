//! The line without a server around it: time is tokio's, and futures are polled by hand.

use std::future::{pending, ready};

use futures::{FutureExt as _, poll};

use super::*;

/// Whether a turn is had without waiting.
fn at_once(line: &Line) -> bool {
    line.turn().now_or_never().is_some()
}

#[tokio::test]
async fn no_more_compute_at_a_time_than_there_are_cores() {
    let line = Line::new(2);
    let first = line.turn().await.unwrap();
    let _second = line.turn().await.unwrap();
    assert!(!at_once(&line));
    drop(first);
    assert!(at_once(&line));
}

#[tokio::test]
async fn a_turn_ends_when_its_work_first_waits() {
    let line = Line::new(1);
    let mut waits = Box::pin(line.run(pending::<()>()));
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(line.run(ready(7)).await, Ok(7));
    drop(waits);
    assert!(at_once(&line));
}

#[tokio::test]
async fn turns_come_in_order() {
    let line = Line::new(1);
    let mut turn = line.turn().await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(line.turn())).collect();
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

#[tokio::test(start_paused = true)]
async fn newcomers_are_refused_while_the_line_is_longer_than_patience() {
    let line = Line::new(1);
    let turn = line.turn().await.unwrap();
    let mut second = Box::pin(line.turn());
    assert!(poll!(&mut second).is_pending());
    assert_eq!(line.check(), Ok(()), "nothing is known yet");
    tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
    drop(turn);
    let turn = second.await.unwrap();
    assert_eq!(line.check(), Ok(()), "nobody waits");
    let mut third = Box::pin(line.turn());
    assert!(poll!(&mut third).is_pending());
    assert_eq!(line.check(), Err(Refused::Expected));
    // Whoever leaves the line makes it shorter.
    drop(third);
    assert_eq!(line.check(), Ok(()));
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn a_pace_that_was_slow_once_is_forgotten() {
    let line = Line::new(1);
    line.learn(LIMIT, 0);
    for _ in 0..10 * MEMORY {
        line.learn(Duration::from_micros(300), 0);
    }
    assert!(line.pace.load(Ordering::Relaxed) < 1_000_000, "{line:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_too_long_is_refused_and_its_turn_goes_on() {
    let line = Line::new(1);
    let turn = line.turn().await.unwrap();
    let mut late = Box::pin(line.run(async { panic!("work was begun for a client that has gone") }));
    assert!(poll!(&mut late).is_pending());
    tokio::time::advance(LIMIT + Duration::from_millis(1)).await;
    let mut next = Box::pin(line.turn());
    assert!(poll!(&mut next).is_pending());
    drop(turn);
    assert_eq!(late.await, Err::<(), _>(Refused::Waited));
    next.await.unwrap();
}
