//! The time limits of a connection without sockets, in paused time.

use super::super::super::shares::Shares;
use super::*;

fn usage(limits: &Limits) -> Arc<Usage> {
    Usage::of(Arc::new(Shares::new(limits)).of_all().connection().unwrap())
}

/// One on which a request has come.
fn used(limits: &Limits) -> Arc<Usage> {
    let usage = usage(limits);
    drop(usage.begin(false));
    usage
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Once the handshake had this time, and the head had it again.
#[tokio::test(start_paused = true)]
async fn the_time_for_the_first_head_begins_when_the_connection_is_accepted() {
    let limits = Limits::default();
    let usage = usage(&limits);
    let begun = Instant::now();
    // A handshake.
    seconds(8).await;
    assert_eq!(usage.expire(&limits).await, Expired::Silent);
    assert_eq!(begun.elapsed().as_secs(), limits.header_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_reader_at_the_minimum_rate_is_kept_and_a_slower_one_is_not() {
    let limits = Limits::default();
    for (every, kept) in [(16, true), (32, false), (1_000_000, false)] {
        let usage = used(&limits);
        let _request = usage.begin(false);
        usage.answer(1 << 20);
        let reading = async {
            loop {
                seconds(every).await;
                usage.read(PIECE);
            }
        };
        let watched = async { tokio::time::timeout(Duration::from_mins(10), usage.expire(&limits)).await };
        let expired = tokio::select! {
            expired = watched => expired.ok(),
            () = reading => None,
        };
        assert_eq!(expired, (!kept).then_some(Expired::Unread), "a piece each {every} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_answer_is_read_within_a_look() {
    let limits = Limits::default();
    let usage = used(&limits);
    usage.answer(3);
    let begun = Instant::now();
    assert_eq!(usage.expire(&limits).await, Expired::Unread);
    assert_eq!(begun.elapsed(), limits.header_timeout + LOOK);
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_ends_its_connection_whatever_else_is_read() {
    let limits = Limits::default();
    let usage = used(&limits);
    let begun = Instant::now();
    let old = usage.answer(3);
    let reading = async {
        loop {
            let number = usage.answer(PIECE);
            seconds(1).await;
            usage.read(PIECE);
            usage.done(number);
            drop(usage.begin(false));
        }
    };
    let expired = tokio::select! {
        expired = usage.expire(&limits) => expired,
        () = reading => unreachable!(),
    };
    assert_eq!(expired, Expired::Unread);
    let longest = limits.idle_timeout + 2 * LOOK;
    assert!((limits.idle_timeout..longest).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    usage.read(3);
    usage.done(old);
    assert!(!usage.has_old_answer(&limits));
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_time_for_all_that_was_unread_before_it() {
    let limits = Limits::default();
    let usage = used(&limits);
    usage.answer(100 * limits.min_rate);
    usage.answer(3);
    tokio::time::advance(limits.idle_timeout + Duration::from_secs(100)).await;
    assert!(!usage.has_old_answer(&limits));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(usage.has_old_answer(&limits));
}
