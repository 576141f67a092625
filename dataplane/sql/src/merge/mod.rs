//! Streaming merges of DataRow messages: the rows of several shards become the rows of one database.
//!
//! ```text
//! rows of source 0 --+
//! rows of source 1 --+--> concatenation | ordered merge | groups --> DISTINCT --> OFFSET, LIMIT --> hidden columns cut --> out
//! rows of source 2 --+
//! ```
//!
//! A pull model with bounded memory: [`Merger::wants`] tells which sources may send. Concatenation keeps nothing; the ordered merge keeps
//! a short queue per source; groups and DISTINCT keep one row per group within a byte budget, over which the statement is refused.
//! Values are compared only where order and equality are the database's own; a column of another type is a refusal, never a guess.

mod compare;
mod decimal;
mod group;
mod queue;
mod row;
mod spec;
mod time;

pub use compare::Column;
pub use spec::{Bounds, Spec};

use crate::refusal::Refusal;
use compare::Order;
use group::Groups;
use hashbrown::HashSet;
use queue::Queue;
use std::sync::Arc;

/// One scatter execution's rows.
pub struct Merger {
    spec: Arc<Spec>,
    kind: Kind,
    ended: Vec<bool>,
    visible: usize,
    window: Window,
    seen: Option<Seen>,
}

enum Kind {
    Concatenate,
    Ordered { queues: Vec<Queue>, order: Order },
    Grouped(Groups),
}

/// OFFSET and LIMIT, counted down.
struct Window {
    skip: u64,
    left: Option<u64>,
    rows: u64,
}

/// The rows that DISTINCT has let through.
struct Seen {
    rows: HashSet<Vec<u8>>,
    bytes: usize,
    budget: usize,
}

impl Merger {
    /// `columns` as the shards send them, hidden ones included; `budget` bounds in bytes what groups and DISTINCT may keep.
    ///
    /// # Errors
    /// 0A000: a column that has to be compared or added is of a type whose order or arithmetic is not known to be the database's.
    pub fn new(spec: &Arc<Spec>, columns: &[Column], sources: usize, bounds: Bounds, budget: usize) -> Result<Merger, Refusal> {
        let visible = columns.len().checked_sub(spec.hidden).ok_or_else(|| row::malformed("fewer columns than the plan hides"))?;
        let order = Order::new(&spec.order_within(columns.len()), columns)?;
        let kind = if spec.is_grouped() {
            Kind::Grouped(Groups::new(spec, columns, order, budget)?)
        } else if spec.order.is_empty() {
            Kind::Concatenate
        } else {
            Kind::Ordered { queues: (0..sources).map(|_| Queue::default()).collect(), order }
        };
        if spec.distinct {
            columns.iter().take(visible).try_for_each(compare::equal_as_bytes)?;
        }
        let seen = spec.distinct.then(|| Seen { rows: HashSet::new(), bytes: 0, budget });
        let window = Window { skip: bounds.offset, left: bounds.limit, rows: 0 };
        Ok(Merger { spec: Arc::clone(spec), kind, ended: vec![false; sources], visible, window, seen })
    }

    /// Whether more rows of a source can be taken now; if not, its connection should not be read until rows of others were taken.
    pub fn wants(&self, source: usize) -> bool {
        match &self.kind {
            Kind::Ordered { queues, .. } if !self.is_done() => queues.get(source).is_some_and(Queue::has_room),
            _ => true,
        }
    }

    /// Takes a row: the body of a DataRow message. Appends the DataRow messages that are due for the client to `out`.
    ///
    /// # Errors
    /// The row cannot be merged, or the budget is used up; the statement has failed.
    pub fn row(&mut self, source: usize, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.is_done() {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Concatenate => emit(&mut self.window, &mut self.seen, self.visible, self.spec.hidden, body, out),
            Kind::Grouped(groups) => groups.add(body),
            Kind::Ordered { queues, .. } => {
                let queue = queues.get_mut(source).ok_or_else(|| row::malformed("a row of a source that is not there"))?;
                queue.push(body);
                self.advance(out)
            }
        }
    }

    /// A source has sent all its rows.
    ///
    /// # Errors
    /// As [`Merger::row`].
    pub fn end(&mut self, source: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(ended) = self.ended.get_mut(source) {
            *ended = true;
        }
        if matches!(self.kind, Kind::Ordered { .. }) {
            return self.advance(out);
        }
        let Kind::Grouped(groups) = &mut self.kind else { return Ok(()) };
        if !self.ended.iter().all(|ended| *ended) {
            return Ok(());
        }
        for body in groups.finish()? {
            emit(&mut self.window, &mut self.seen, self.visible, self.spec.hidden, &body, out)?;
        }
        Ok(())
    }

    /// Whether no more rows will come out: all sources ended, or LIMIT is reached. Rows that still arrive are thrown away.
    pub fn is_done(&self) -> bool {
        let full = self.window.left == Some(0) && !matches!(self.kind, Kind::Grouped(_));
        full || self.ended.iter().all(|ended| *ended)
    }

    /// How many rows came out so far: the number in the command tag.
    pub fn rows(&self) -> u64 {
        self.window.rows
    }

    /// Lets out what is certain to be next: as long as every source that goes on has a row queued.
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Kind::Ordered { queues, order } = &mut self.kind else { return Ok(()) };
        while self.window.left != Some(0) {
            if queues.iter().zip(&self.ended).any(|(queue, ended)| queue.is_empty() && !ended) {
                return Ok(());
            }
            let mut first: Option<usize> = None;
            for (at, queue) in queues.iter().enumerate() {
                let Some(body) = queue.front() else { continue };
                let best = first.and_then(|first| queues.get(first)).and_then(Queue::front);
                if best.map_or(Ok(true), |best| order.compare(body, best).map(std::cmp::Ordering::is_lt))? {
                    first = Some(at);
                }
            }
            let Some(queue) = first.and_then(|first| queues.get_mut(first)) else { return Ok(()) };
            if let Some(body) = queue.front() {
                emit(&mut self.window, &mut self.seen, self.visible, self.spec.hidden, body, out)?;
            }
            queue.pop();
        }
        Ok(())
    }
}

/// One row towards the client: DISTINCT, OFFSET, LIMIT, hidden columns.
fn emit(window: &mut Window, seen: &mut Option<Seen>, visible: usize, hidden: usize, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    if let Some(seen) = seen {
        if !seen.is_new(body)? {
            return Ok(());
        }
    }
    if window.skip > 0 {
        window.skip -= 1;
        return Ok(());
    }
    match &mut window.left {
        Some(0) => return Ok(()),
        Some(left) => *left -= 1,
        None => {}
    }
    window.rows += 1;
    if hidden == 0 { row::write(body, out) } else { row::write_cut(body, visible, out) }
}

impl Seen {
    fn is_new(&mut self, body: &[u8]) -> Result<bool, Refusal> {
        if self.rows.contains(body) {
            return Ok(false);
        }
        self.bytes += row::kept(body.len());
        if self.bytes > self.budget {
            return Err(row::over_budget("DISTINCT", self.budget));
        }
        self.rows.insert(body.to_vec());
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
