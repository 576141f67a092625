//! All the rules of a pool together, under random events: nobody is overtaken, lost or given a connection that is somebody else's, and no
//! limit is exceeded.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(slot: u32) -> Key {
    Key { slot, generation: 0 }
}

/// What happens to a pool, with a choice among those it can happen to.
#[derive(Clone, Debug)]
enum Event {
    Acquire,
    Release(usize),
    Lose(usize),
    LoseIdle(usize),
    Ready,
    Refused,
    PassedOver,
    Checked(usize, bool),
    Forget(usize),
    Advance(Nanos),
    Limit(Limits),
}

fn limits() -> impl Strategy<Value = Limits> {
    let times = (0..3u64, 0..60u64, 0..200u64);
    (1..5usize, 0..3usize, 0..3usize, times).prop_map(|(size, min, reserve, (reserve_after, idle, lifetime))| Limits {
        size,
        min: min.min(size),
        reserve,
        reserve_after: reserve_after * SECONDS,
        wait: 5 * SECONDS,
        idle: idle * SECONDS,
        lifetime: lifetime * SECONDS,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Acquire),
        4 => any::<usize>().prop_map(Event::Release),
        1 => any::<usize>().prop_map(Event::Lose),
        1 => any::<usize>().prop_map(Event::LoseIdle),
        4 => Just(Event::Ready),
        1 => Just(Event::Refused),
        1 => Just(Event::PassedOver),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(n, lives)| Event::Checked(n, lives)),
        1 => any::<usize>().prop_map(Event::Forget),
        3 => (0..40_000u64).prop_map(|ms| Event::Advance(ms * MILLIS)),
        1 => limits().prop_map(Event::Limit),
    ]
}

/// The world of a pool: what the protocol does with its answers, and a simple model of what must hold.
struct World {
    pool: Pool,
    now: Nanos,
    next: u32,
    /// The largest limits since the pool was last within the present ones.
    bound: usize,
    dialling: usize,
    leased: Vec<(Key, Key)>,
    checking: Vec<Key>,
    idle: Vec<Key>,
    /// Who waits, and until when.
    waiting: VecDeque<(Key, Nanos)>,
    terms: BTreeMap<Key, Term>,
}

impl World {
    fn new(limits: Limits) -> World {
        World {
            pool: Pool::new(limits, 7),
            now: 0,
            next: 0,
            bound: limits.size + limits.reserve,
            dialling: 0,
            leased: vec![],
            checking: vec![],
            idle: vec![],
            waiting: VecDeque::new(),
            terms: BTreeMap::new(),
        }
    }

    fn fresh(&mut self) -> Key {
        self.next += 1;
        key(self.next)
    }

    /// A connection is free: it must go to the longest waiter, if there is one.
    fn handed(&mut self, server: Key, to: Option<Key>) {
        assert_eq!(to, self.waiting.pop_front().map(|(who, _)| who), "the longest waiter has it");
        match to {
            Some(who) => self.leased.push((server, who)),
            None => self.idle.push(server),
        }
    }

    fn free(&mut self, server: Key, is_checked: bool) {
        let term = self.terms[&server];
        if self.pool.is_over(term, self.now) {
            return if is_checked { self.pool.lost_check() } else { self.pool.lost() };
        }
        let to = if is_checked { self.pool.checked(server, term, self.now) } else { self.pool.release(server, term, self.now) };
        self.handed(server, to);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Acquire => self.acquire(),
            Event::Release(n) if !self.leased.is_empty() => {
                let (server, _) = self.leased.swap_remove(n % self.leased.len());
                self.free(server, false);
            }
            Event::Lose(n) if !self.leased.is_empty() => {
                self.leased.swap_remove(n % self.leased.len());
                self.pool.lost();
            }
            Event::LoseIdle(n) if !self.idle.is_empty() => {
                let server = self.idle.swap_remove(n % self.idle.len());
                assert!(self.pool.lost_idle(server));
            }
            Event::Ready if self.dialling > 0 => {
                self.dialling -= 1;
                let server = self.fresh();
                let (term, to) = self.pool.ready(server, self.now);
                self.terms.insert(server, term);
                self.handed(server, to);
            }
            Event::Refused if self.dialling > 0 => {
                self.dialling -= 1;
                self.pool.refused(self.now, 0);
            }
            Event::PassedOver if self.dialling > 0 => {
                self.dialling -= 1;
                self.pool.passed_over(self.now);
            }
            Event::Checked(n, lives) if !self.checking.is_empty() => {
                let server = self.checking.swap_remove(n % self.checking.len());
                if lives { self.free(server, true) } else { self.pool.lost_check() }
            }
            Event::Forget(n) if !self.waiting.is_empty() => {
                let (who, _) = self.waiting.remove(n % self.waiting.len()).unwrap();
                self.pool.forget(who);
            }
            Event::Advance(by) => self.advance(by),
            Event::Limit(limits) => self.pool.limit(limits),
            _ => {}
        }
        self.pump();
    }

    fn acquire(&mut self) {
        let who = self.fresh();
        match self.pool.acquire(who, self.now) {
            Acquired::Leased(server) => {
                assert!(self.waiting.is_empty(), "nobody overtakes a waiter");
                self.take_idle(server);
                self.leased.push((server, who));
            }
            Acquired::Check(server) => {
                self.take_idle(server);
                self.checking.push(server);
                self.waiting.push_back((who, self.now + self.pool.limits().wait));
            }
            Acquired::Queued => {
                assert!(self.idle.is_empty(), "nobody waits while a connection is idle");
                self.waiting.push_back((who, self.now + self.pool.limits().wait));
            }
        }
    }

    fn take_idle(&mut self, server: Key) {
        let at = self.idle.iter().position(|idle| *idle == server).expect("it was idle, and nobody's");
        self.idle.remove(at);
    }

    /// Time passes from one of the pool's own times to the next, as a protocol's timer does it.
    fn advance(&mut self, by: Nanos) {
        let end = self.now + by;
        let mut rounds = 0;
        while let Some(at) = self.pool.next().filter(|at| *at <= end) {
            rounds += 1;
            assert!(rounds < 1000, "a time that has passed fires for ever");
            self.now = at.max(self.now);
            while let Some(who) = self.pool.expired(self.now) {
                let (first, deadline) = self.waiting.pop_front().expect("only who waits expires");
                assert_eq!(who, first);
                assert!(deadline <= self.now);
            }
            while let Some(server) = self.pool.stale(self.now) {
                self.take_idle(server);
            }
            self.pump();
        }
        self.now = end;
        self.pump();
    }

    fn pump(&mut self) {
        while self.pool.dial(self.now) {
            self.dialling += 1;
            assert!(self.pool.len() <= self.pool.limits().size + self.pool.limits().reserve, "dialled beyond the limits");
        }
        let limits = self.pool.limits();
        let len = self.leased.len() + self.checking.len() + self.idle.len() + self.dialling;
        assert_eq!(self.pool.len(), len, "every connection is counted once");
        let census = [self.leased.len() + self.checking.len(), self.idle.len(), self.dialling, self.waiting.len()];
        assert_eq!(self.pool.census(), census);
        let now = limits.size + limits.reserve;
        self.bound = if len <= now { now } else { self.bound.max(now) };
        assert!(len <= self.bound, "{len} connections of {}", self.bound);
        self.nobody_is_lost();
    }

    /// Whoever waits has something under way for it, or the pool is full, or it will be asked again.
    fn nobody_is_lost(&self) {
        let under_way = self.dialling + self.checking.len();
        let is_full = self.pool.len() >= self.pool.limits().size;
        let is_served = self.waiting.len() <= under_way || is_full || self.pool.is_failing();
        assert!(self.waiting.is_empty() || is_served, "{} wait, {under_way} under way", self.waiting.len());
        let next = self.pool.next().unwrap_or(Nanos::MAX);
        assert!(self.waiting.front().is_none_or(|(_, deadline)| next <= *deadline), "the queue has no time at which it is looked at");
        if self.waiting.len() > under_way && !is_full && self.dialling == 0 {
            assert!(next <= self.now + BACKOFF_MAX + BACKOFF_MAX / 4, "the back end is not tried again in time");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens(limits in limits(), events in prop::collection::vec(event(), 1..200)) {
        let mut world = World::new(limits);
        events.into_iter().for_each(|event| world.step(event));
        // Everything comes back and every dial succeeds: then nobody is left waiting.
        for _ in 0..10_000 {
            match (world.waiting.is_empty(), world.leased.is_empty(), world.dialling, world.checking.is_empty()) {
                (true, ..) => break,
                (_, false, ..) => world.step(Event::Release(0)),
                (.., false) => world.step(Event::Checked(0, true)),
                (_, _, 0, _) => world.step(Event::Advance(10 * MILLIS)),
                _ => world.step(Event::Ready),
            }
        }
        prop_assert!(world.waiting.is_empty(), "{} wait for ever", world.waiting.len());
    }
}
