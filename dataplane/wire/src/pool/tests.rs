//! The rules one by one; all of them together under random events are in chaos.rs.

use super::*;
use std::collections::BTreeSet;

const LIMITS: Limits = Limits { size: 1, min: 0, reserve: 0, reserve_after: 0, wait: SECONDS, idle: 10 * SECONDS, lifetime: 0 };

fn key(slot: u32) -> Key {
    Key { slot, generation: 0 }
}

fn pool(size: usize) -> Pool {
    Pool::new(Limits { size, ..LIMITS }, 1)
}

/// A pool with all connections idle, keys 100, 101, ...; what their times are reckoned from.
fn filled(limits: Limits) -> (Pool, Vec<Term>) {
    let mut pool = Pool::new(limits, 1);
    let size = limits.size as u32;
    for n in 0..size {
        pool.acquire(key(n), 0);
        assert!(pool.dial(0));
    }
    let terms: Vec<_> = (0..size)
        .map(|n| {
            let (term, waiter) = pool.ready(key(100 + n), 0);
            assert_eq!(waiter, Some(key(n)));
            term
        })
        .collect();
    for n in 0..size {
        assert_eq!(pool.release(key(100 + n), terms[n as usize], u64::from(n)), None);
    }
    (pool, terms)
}

#[test]
fn the_last_one_back_is_the_first_one_out() {
    let (mut pool, _) = filled(Limits { size: 2, ..LIMITS });
    assert_eq!(pool.acquire(key(1), 5), Acquired::Leased(key(101)));
    assert_eq!(pool.acquire(key(2), 5), Acquired::Leased(key(100)));
    assert_eq!(pool.census(), [2, 0, 0, 0]);
}

#[test]
fn a_released_connection_goes_to_the_longest_waiter() {
    let (mut pool, terms) = filled(LIMITS);
    assert_eq!(pool.acquire(key(1), 5), Acquired::Leased(key(100)));
    assert_eq!(pool.acquire(key(2), 6), Acquired::Queued);
    assert_eq!(pool.acquire(key(3), 7), Acquired::Queued);
    assert!(!pool.dial(7), "the pool is full");
    assert_eq!(pool.longest_wait(8), 2);
    assert_eq!(pool.release(key(100), terms[0], 8), Some(key(2)));
    pool.forget(key(3));
    assert_eq!(pool.release(key(100), terms[0], 9), None);
}

#[test]
fn a_waiter_whose_time_is_up_leaves() {
    let (mut pool, terms) = filled(LIMITS);
    pool.acquire(key(1), 0);
    pool.acquire(key(2), 10);
    assert_eq!(pool.next(), Some(SECONDS + 10));
    assert_eq!(pool.expired(SECONDS), None);
    assert_eq!(pool.expired(SECONDS + 10), Some(key(2)));
    assert_eq!(pool.release(key(100), terms[0], SECONDS + 11), None);
}

#[test]
fn a_refusing_back_end_is_tried_one_dial_at_a_time_with_growing_pauses() {
    let mut pool = pool(5);
    for n in 0..3 {
        pool.acquire(key(n), 0);
    }
    assert!(pool.dial(0) && pool.dial(0) && pool.dial(0));
    for _ in 0..3 {
        pool.refused(0, 0);
    }
    assert_eq!(pool.next(), Some(BACKOFF_FIRST), "those that were dialled together count once");
    assert!(pool.dial(BACKOFF_FIRST));
    pool.refused(BACKOFF_FIRST, 7);
    let again = pool.next().unwrap();
    assert_eq!(again, 3 * BACKOFF_FIRST + 7);
    assert!(!pool.dial(again - 1));
    assert!(pool.dial(again));
    assert!(!pool.dial(again), "one at a time");
    assert_eq!(pool.ready(key(100), again).1, Some(key(0)));
    assert!(pool.dial(again), "and freely again");
}

#[test]
fn another_server_is_asked_at_once() {
    let mut pool = pool(5);
    pool.acquire(key(1), 0);
    assert!(pool.dial(0));
    pool.passed_over(3);
    assert!(pool.dial(3) && pool.is_failing());
    pool.refused(4, 0);
    assert!(!pool.dial(4));
    pool.adopt();
    assert_eq!(pool.ready(key(100), 5).1, Some(key(1)));
}

#[test]
fn what_nobody_needs_grows_stale_down_to_the_minimum() {
    let (mut pool, _) = filled(Limits { size: 3, min: 1, ..LIMITS });
    let closed: Vec<Key> = std::iter::from_fn(|| pool.stale(10 * SECONDS + 3)).collect();
    assert_eq!(closed.len(), 2);
    assert_eq!((pool.len(), pool.next()), (1, None), "the last one stays for ever");
    assert!(!pool.dial(10 * SECONDS));
    let left = pool.evict().unwrap();
    assert!(!closed.contains(&left) && pool.is_empty());
    assert!(pool.dial(10 * SECONDS), "and is replaced when it is lost");
}

#[test]
fn connections_are_dialled_ahead_one_at_a_time() {
    let mut pool = Pool::new(Limits { size: 5, min: 3, ..LIMITS }, 1);
    for n in 0..3 {
        assert!(pool.dial(0));
        assert!(!pool.dial(0), "no storm");
        assert_eq!(pool.ready(key(100 + n), 0).1, None);
    }
    assert!(!pool.dial(0));
    assert_eq!(pool.census(), [0, 3, 0, 0]);
}

#[test]
fn a_lifetime_ends_at_different_times_and_never_late() {
    let (mut pool, terms) = filled(Limits { size: 50, min: 50, lifetime: 100 * SECONDS, ..LIMITS });
    assert!(!terms.iter().any(|term| pool.is_over(*term, 79 * SECONDS)));
    assert!(terms.iter().all(|term| pool.is_over(*term, 100 * SECONDS)));
    let mut ends = BTreeSet::new();
    while let Some(at) = pool.next() {
        assert!((80 * SECONDS..=100 * SECONDS).contains(&at), "{at}");
        assert!(pool.stale(at).is_some());
        ends.insert(at / SECONDS);
    }
    assert!(ends.len() > 10, "50 connections end within {} different seconds", ends.len());
}

#[test]
fn the_reserve_is_for_those_who_have_waited() {
    let (mut pool, terms) = filled(Limits { reserve: 1, reserve_after: MILLIS, ..LIMITS });
    pool.acquire(key(1), 0);
    pool.acquire(key(2), 10);
    pool.acquire(key(3), 10);
    assert!(!pool.dial(10));
    assert_eq!(pool.next(), Some(MILLIS + 10));
    assert!(pool.dial(MILLIS + 10));
    assert!(!pool.dial(MILLIS + 10));
    let (reserve, waiter) = pool.ready(key(101), MILLIS + 20);
    assert_eq!(waiter, Some(key(2)));
    assert!(!pool.dial(MILLIS + 20), "the reserve is used up");
    assert!(!pool.is_over(reserve, MILLIS + 30), "somebody waits");
    assert_eq!(pool.release(key(101), reserve, MILLIS + 30), Some(key(3)));
    assert!(pool.is_over(terms[0], MILLIS + 40), "nobody does");
}

#[test]
fn what_was_idle_for_long_is_checked_before_it_is_leased() {
    let (mut pool, terms) = filled(Limits { size: 2, idle: 0, ..LIMITS });
    let late = CHECK_AFTER + 1;
    assert_eq!(pool.acquire(key(1), late), Acquired::Check(key(101)));
    assert_eq!(pool.acquire(key(2), late), Acquired::Check(key(100)));
    assert!(!pool.dial(late), "two are under way");
    assert_eq!(pool.checked(key(100), terms[0], late), Some(key(1)), "whichever answers first is for the first");
    pool.lost_check();
    assert!(pool.dial(late), "the other one is dead");
    assert_eq!(pool.ready(key(102), late).1, Some(key(2)));
    assert_eq!(pool.census(), [2, 0, 0, 0]);
}

#[test]
fn a_process_size_is_divided_among_workers() {
    let shares: Vec<usize> = (0..4).map(|worker| Limits::share(6, worker, 4)).collect();
    assert_eq!(shares, [2, 2, 1, 1]);
    assert_eq!(Limits::share(1, 3, 4), 1);
    assert_eq!((0..4).map(|worker| Limits::part(6, worker, 4)).sum::<usize>(), 6);
    assert_eq!(Limits::part(1, 3, 4), 0);
}

#[test]
fn a_certain_connection_is_leased_while_it_is_idle() {
    let (mut pool, _) = filled(Limits { size: 2, ..LIMITS });
    assert!(pool.take(key(100)));
    assert!(!pool.take(key(100)));
    assert_eq!(pool.census(), [1, 1, 0, 0]);
}

#[test]
fn who_waits_through_a_pause_waits_on_and_its_time_begins_anew() {
    let (mut pool, terms) = filled(Limits { size: 2, ..LIMITS });
    assert_eq!(pool.acquire(key(1), 0), Acquired::Leased(key(101)));
    pool.pause();
    assert_eq!(pool.evict(), Some(key(100)));
    assert_eq!(pool.acquire(key(2), 0), Acquired::Queued);
    assert!(!pool.dial(0) && !pool.take(key(100)));
    assert_eq!((pool.release(key(101), terms[1], 1), pool.evict()), (None, Some(key(101))), "closed, not given on");
    let late = LIMITS.wait + 5;
    assert_eq!((pool.expired(late), pool.next(), pool.len()), (None, None, 0));
    pool.resume(late);
    assert_eq!(pool.expired(late + LIMITS.wait - 1), None);
    assert!(pool.dial(late));
    assert_eq!(pool.ready(key(102), late).1, Some(key(2)));
}
