//! The bounds without sockets.

use std::convert::Infallible;
use std::net::Ipv6Addr;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;

use super::super::listener::Usage;
use super::super::settings::PerAddress;
use super::unread::PRICE;
use super::*;

/// Bytes of answers that an address may leave unread here, and all together.
const UNREAD: usize = 4 * PRICE;
const ALL_UNREAD: usize = 2 * UNREAD;

fn limits() -> Limits {
    let per_address = PerAddress {
        connections: 3,
        requests: 4,
        reads: 3,
        bodies: 5,
        body_bytes: 600,
        unread_bytes: UNREAD,
    };
    Limits {
        max_connections: 12,
        max_requests: 8,
        max_body: 500,
        max_bodies: 10,
        max_body_bytes: 1200,
        max_unread_bytes: ALL_UNREAD,
        per_address,
        ..Limits::default()
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Two addresses of IPv4, and four of IPv6 in two sites.
fn any_address(number: u8) -> IpAddr {
    let site = u16::from(number / 2);
    match number {
        0 | 1 => address(number),
        _ => Ipv6Addr::new(0x2001, 0xdb8, site, u16::from(number), 0, 0, 0, 0).into(),
    }
}

/// An answer, in one piece or in pieces that it does not announce.
fn body(size: usize, announced: bool) -> Response {
    let whole = Bytes::from(vec![b'x'; size]);
    if announced {
        return Response::new(Body::from(whole));
    }
    let pieces: Vec<_> =
        whole.chunks(50).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    Response::new(Body::from_stream(futures::stream::iter(pieces)))
}

/// The answer, counted if there is room for it or it must be sent.
fn counted(share: &Share, answer: Response, must: bool) -> Result<Response, Full> {
    Ok(share.room(&answer, None, must)?.hold(answer))
}

/// Everything that can be held.
enum Thing {
    Connection(#[expect(dead_code, reason = "held, not read")] Connection),
    Writing(#[expect(dead_code, reason = "held, not read")] Writing),
    Reading(#[expect(dead_code, reason = "held, not read")] Reading),
    Receiving(Receiving),
    Received(#[expect(dead_code, reason = "held, not read")] ReceivedBytes),
    Answer(Response),
    /// Bytes of an answer in the transport.
    Sent(#[expect(dead_code, reason = "held, not read")] Bytes),
}

proptest! {
    /// Whatever comes and goes, no bound is exceeded, and in the end nothing is held and no address is
    /// remembered.
    #[test]
    fn no_bound_is_exceeded_and_nothing_is_left(
        steps in proptest::collection::vec((0_u8..10, 0_u8..6, 1_usize..6000), 1..200),
    ) {
        let limits = limits();
        let shares = Arc::new(Shares::new(&limits));
        let mut things: Vec<Thing> = Vec::new();
        // Pieces of answers that did not announce their size are counted when they come, bound or not.
        let mut unannounced = false;
        for (what, from, amount) in steps {
            let share = shares.of(any_address(from));
            match what {
                0 => things.extend(share.connection().ok().map(Thing::Connection)),
                1 => things.extend(share.writing().ok().map(Thing::Writing)),
                2 => things.extend(share.reading().ok().map(Thing::Reading)),
                3 => things.extend(share.body().ok().map(Thing::Receiving)),
                4 => if let Some(Thing::Receiving(body)) = things.last_mut() {
                    let _ = body.grow(amount % 400);
                },
                5 => match things.pop() {
                    Some(Thing::Receiving(body)) => things.push(Thing::Received(body.complete())),
                    other => things.extend(other),
                },
                6 => things.extend(counted(&share, body(amount, true), false).ok().map(Thing::Answer)),
                7 => if amount < 300 {
                    unannounced = true;
                    things.extend(counted(&share, body(amount, false), false).ok().map(Thing::Answer));
                },
                8 => if let Some(Thing::Answer(answer)) = things.last_mut() {
                    let frame = answer.body_mut().frame().now_or_never().flatten();
                    things.extend(frame.and_then(|frame| frame.unwrap().into_data().ok()).map(Thing::Sent));
                },
                _ => if !things.is_empty() {
                    drop(things.swap_remove(amount % things.len()));
                },
            }
            let (addresses, sites) = shares.table.lock().unwrap().all();
            prop_assert!(addresses.len() <= 6 && sites.len() <= 2);
            let of_site = addresses.iter().map(|_| false).chain(sites.iter().map(|_| true));
            for (held, of_site) in addresses.iter().chain(&sites).zip(of_site) {
                let most = |own: usize, all: usize| if of_site { own.max(all / 2) } else { own };
                prop_assert!(read(&held.connections) <= most(limits.per_address.connections, 12));
                prop_assert!(read(&held.writes) <= most(limits.per_address.requests, 7));
                prop_assert!(read(&held.reads) <= most(limits.per_address.reads, 7));
                prop_assert!(read(&held.bodies) <= most(limits.per_address.bodies, 10));
                prop_assert!(read(&held.body_bytes) <= most(limits.per_address.body_bytes, 1200));
                let unread = most(limits.per_address.unread_bytes, ALL_UNREAD);
                prop_assert!(unannounced || read(&held.unread) <= unread);
            }
            prop_assert!(read(&shares.all.writes) <= 7, "one place of eight is for reads");
            prop_assert!(read(&shares.all.reads) <= 7, "one place of eight is for writes");
            prop_assert!(read(&shares.all.requests) <= limits.max_requests);
            prop_assert!(read(&shares.all.bodies) <= limits.max_bodies);
            prop_assert!(read(&shares.all.body_bytes) <= limits.max_body_bytes);
            prop_assert!(unannounced || read(&shares.all.unread) <= limits.max_unread_bytes);
        }
        drop(things);
        let Held { users, connections, requests, reads, writes, bodies, body_bytes, unread, site: _ } = &shares.all;
        for number in [users, connections, requests, reads, writes, bodies, body_bytes, unread] {
            prop_assert_eq!(read(number), 0);
        }
        let (addresses, sites) = shares.table.lock().unwrap().all();
        prop_assert!(addresses.is_empty() && sites.is_empty());
    }
}

#[test]
fn addresses_of_one_site_leave_half_to_others() {
    let shares = Arc::new(Shares::new(&Limits::default()));
    let of =
        |site: u16, network: u16| shares.of(Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, 0).into());
    let held: Vec<_> = (0..5000).filter_map(|network| of(1, network).body().ok()).collect();
    assert_eq!(held.len(), 1024, "half of the bodies of all clients");
    assert_eq!(of(1, 9999).body().err(), Some(Full::Address("address_bodies")));
    assert!(of(2, 1).body().is_ok());
    assert!(shares.of(address(1)).body().is_ok());
    drop(held);
    assert!(of(1, 9999).body().is_ok());
}

#[test]
fn reads_leave_places_to_other_addresses_and_to_writes() {
    let shares = Arc::new(Shares::new(&Limits::default()));
    let mut held: Vec<_> = (0..2000).filter_map(|_| shares.of(address(1)).reading().ok()).collect();
    assert_eq!(held.len(), 256, "a quarter of all");
    assert_eq!(shares.of(address(1)).reading().err(), Some(Full::Address("address_reads")));
    let others = (2..=11).cycle().take(2000);
    held.extend(others.filter_map(|from| shares.of(address(from)).reading().ok()));
    assert_eq!(held.len(), 896, "one place of eight is for writes");
    assert_eq!(shares.of(address(12)).reading().err(), Some(Full::All("reads")));
    let writes: Vec<_> = (0..2000).filter_map(|_| shares.of(address(1)).writing().ok()).collect();
    assert_eq!(writes.len(), 128);
}

#[test]
fn an_address_at_its_bounds_leaves_the_rest_to_others() {
    let shares = Arc::new(Shares::new(&limits()));
    let hostile: Vec<_> = (0..5).map(|_| shares.of(address(1)).body().unwrap()).collect();
    assert_eq!(shares.of(address(1)).body().err(), Some(Full::Address("address_bodies")));
    let mut other = shares.of(address(2)).body().unwrap();
    other.grow(600).unwrap();
    assert_eq!(other.grow(1), Err(Full::Address("address_body_bytes")));
    drop(hostile);
    let writes: Vec<_> = (0..4).map(|_| shares.of(address(1)).writing().unwrap()).collect();
    assert_eq!(shares.of(address(1)).writing().err(), Some(Full::Address("address_requests")));
    assert!(shares.of(address(2)).writing().is_ok());
    drop(writes);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_refuses_every_write_for_long_is_not_ready() {
    let occupancy = Occupancy::new(&limits());
    let shares = &occupancy.0;
    let held: Vec<_> = (1..=10).filter_map(|from| shares.of(address(from)).writing().ok()).collect();
    assert_eq!(held.len(), 7);
    occupancy.check().unwrap();
    tokio::time::advance(STUCK + Duration::from_secs(1)).await;
    occupancy.check().unwrap_err();
    drop(held);
    occupancy.check().unwrap();
    shares.of(address(1)).writing().unwrap();
    assert_eq!(shares.refused_at.load(Ordering::Relaxed), 0);
}

#[test]
fn unread_answers_end_the_admission_of_their_reader() {
    let shares = Arc::new(Shares::new(&limits()));
    let (reader, other) = (shares.of(address(1)), shares.of(address(2)));
    let first = counted(&reader, body(2 * PRICE - 10, true), false).unwrap();
    let full = Full::Address("address_unread_bytes");
    // Requests that were admitted before that may be answered, as far as there is room.
    reader.may_answer().unwrap();
    assert_eq!(counted(&reader, body(11, true), false).err(), Some(full));
    let second = counted(&reader, body(10, true), false).unwrap();
    assert_eq!(reader.may_answer(), Err(full));
    other.may_answer().unwrap();
    drop((first, second));
    reader.may_answer().unwrap();
    // A write that was done is answered in any case.
    let written = counted(&reader, body(UNREAD, true), true).unwrap();
    let more = counted(&reader, body(60, true), true).unwrap();
    assert_eq!(reader.may_answer(), Err(full));
    drop((written, more));
    let proxy = shares.of_all();
    let _all = counted(&proxy, body(ALL_UNREAD - PRICE, true), false).unwrap();
    assert_eq!(proxy.may_answer(), Err(Full::All("unread_bytes")));
    assert_eq!(other.may_answer(), Err(Full::All("unread_bytes")));
}

#[test]
fn an_answer_above_the_bound_is_given_to_a_client_that_has_read_all_others() {
    let shares = Arc::new(Shares::new(&limits()));
    let reader = shares.of(address(1));
    for announced in [true, false] {
        let mut large = counted(&reader, body(3 * UNREAD, announced), false).unwrap();
        let mut pieces = Vec::new();
        while let Some(frame) = large.body_mut().frame().now_or_never().unwrap() {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 3 * UNREAD);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(reader.may_answer(), Err(Full::Address("address_unread_bytes")));
        // The pieces hold the count, not the answer.
        drop(large);
        assert_eq!(reader.may_answer(), Err(Full::Address("address_unread_bytes")));
        drop(pieces);
        assert_eq!(read(&shares.all.unread), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn unread_answers_that_refuse_every_write_for_long_are_not_ready() {
    let occupancy = Occupancy::new(&limits());
    let shares = &occupancy.0;
    let held: Vec<_> =
        (1..=2).map(|from| counted(&shares.of(address(from)), body(UNREAD, true), false).unwrap()).collect();
    assert_eq!(shares.of(address(3)).may_answer(), Err(Full::All("unread_bytes")));
    tokio::time::advance(STUCK + Duration::from_secs(1)).await;
    occupancy.check().unwrap_err();
    drop(held);
    occupancy.check().unwrap();
}

/// Of a body that ends with trailers, as gRPC's do, no piece is known to be the last.
#[test]
fn the_price_of_an_answer_is_held_by_each_of_its_pieces() {
    let shares = Arc::new(Shares::new(&limits()));
    let reader = shares.of(address(1));
    for announced in [true, false] {
        let mut answer = counted(&reader, body(120, announced), false).unwrap();
        let frame = |answer: &mut Response| answer.body_mut().frame().now_or_never().unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = frame(&mut answer) {
            pieces.push(piece.unwrap().into_data().unwrap());
        }
        drop(answer);
        while let Some(piece) = pieces.pop() {
            assert!(read(&shares.all.unread) >= PRICE + piece.len());
        }
        assert_eq!(read(&shares.all.unread), 0);
    }
}

#[test]
fn an_answer_that_is_dropped_half_read_gives_all_of_its_count_back() {
    let shares = Arc::new(Shares::new(&limits()));
    let usage = Usage::of(shares.of(address(1)).connection().unwrap());
    let answer = body(3 * UNREAD, true);
    let mut answer = shares.of(address(1)).room(&answer, Some(&usage), false).unwrap().hold(answer);
    let piece = answer.body_mut().frame().now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(answer.body().size_hint().exact(), Some((3 * UNREAD - PIECE) as u64));
    drop(answer);
    drop(piece);
    assert_eq!(read(&shares.all.unread), 0);
    assert_eq!(format!("{usage:?}"), "Usage(0 in flight, 0 bytes unread)");
}
