//! The answer of all workers: asked by mail, and added up by the worker whose client asked.

use super::command::{Command, Order, Topic};
use super::stats;
use super::table::{Table, Value};
use crate::client::Client;
use crate::machine::{Postgres, timer};
use crate::mail;
use wire::{Cursor, Io, Key, MILLIS, Nanos};

/// A worker that does not answer within this is overloaded or hangs; its part is left out, and said so.
const PATIENCE: Nanos = 2_000 * MILLIS;
/// Before the workers are asked again how much is left of an order.
const PAUSE: Nanos = 20 * MILLIS;

/// A question under way.
pub struct Pending {
    number: u32,
    command: Command,
    table: Table,
    missing: Vec<usize>,
    /// All have answered, and something of the order is left: they will be asked again.
    is_resting: bool,
}

impl Pending {
    fn left(&self) -> i64 {
        let numbers = self.table.rows.iter().flatten().filter_map(|value| if let Value::Number(number) = value { Some(*number) } else { None });
        if matches!(self.command, Command::Order(..)) { numbers.sum() } else { 0 }
    }

    /// What the client is shown.
    fn table(mut self) -> Table {
        match &self.command {
            Command::Order(..) => self.table.rows.clear(),
            command => self.table.merge(command.columns()),
        }
        if self.command == Command::Show(Topic::Stats) {
            stats::finish(&mut self.table.rows);
        }
        if !self.missing.is_empty() {
            self.table.warnings.push(format!("workers {:?} did not answer in time; their part is missing", self.missing));
        }
        self.table
    }
}

impl Postgres {
    /// What the command comes to; or the client is paused until all workers have answered, and asks again then.
    pub(super) fn ask_all(&mut self, io: &mut dyn Io, client: &Client, command: &Command, number: u32) -> Result<Table, Pending> {
        let table = self.carry_out(io, command, Some(client), false);
        let mut pending = Pending { number, command: command.clone(), table, missing: Vec::new(), is_resting: false };
        self.ask_others(io, client.key, &mut pending, false);
        if pending.missing.is_empty() && !rests(io, client.key, &mut pending) { Ok(pending.table()) } else { Err(pending) }
    }

    fn ask_others(&mut self, io: &mut dyn Io, client: Key, pending: &mut Pending, is_again: bool) {
        let is_local = match &pending.command {
            Command::Empty => true,
            Command::Show(topic) => topic.is_local(),
            Command::Order(..) => false,
        };
        pending.missing = (0..self.worker.count).filter(|worker| !is_local && *worker != self.worker.index).collect();
        if !pending.missing.is_empty() {
            let question = ask(self.worker.index, client, pending.number, &pending.command, is_again);
            pending.missing.iter().for_each(|worker| io.mail(*worker, question.clone()));
            io.arm(client, timer::ADMIN, io.now() + PATIENCE);
        }
    }

    /// A question of another worker.
    pub(crate) fn admin_question(&mut self, io: &mut dyn Io, body: &[u8]) {
        let Some((worker, client, number, command, is_again)) = read_question(body) else { return };
        let table = self.carry_out(io, &command, None, is_again);
        let mut answer = vec![mail::ADMIN_ANSWER];
        head(&mut answer, self.worker.index, client, number);
        table.encode(&mut answer);
        io.mail(worker, answer);
    }

    /// Another worker's answer.
    pub(crate) fn admin_answer(&mut self, io: &mut dyn Io, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let Some((worker, client, number)) = read_head(&mut cursor) else { return };
        let Some(admin) = self.clients.get_mut(client).and_then(|client| client.admin.as_mut()) else { return };
        let Some(pending) = admin.pending.as_mut().filter(|pending| pending.number == number) else { return };
        if let Some(table) = Table::decode(cursor.rest(), pending.command.columns_of_workers()) {
            pending.table.rows.extend(table.rows);
            pending.table.warnings.extend(table.warnings);
            pending.missing.retain(|missing| *missing != worker);
        }
        if pending.missing.is_empty() {
            self.admin_complete(io, client);
        }
    }

    /// All have answered, or no more will; or it is time to ask again.
    pub(crate) fn admin_complete(&mut self, io: &mut dyn Io, client: Key) {
        let Some(admin) = self.clients.get_mut(client).and_then(|client| client.admin.as_mut()) else { return };
        let Some(mut pending) = admin.pending.take() else { return };
        if std::mem::take(&mut pending.is_resting) {
            // Answers to the question before come too late.
            admin.questions = admin.questions.wrapping_add(1);
            pending.number = admin.questions;
            pending.table = self.carry_out(io, &pending.command, None, true);
            self.ask_others(io, client, &mut pending, true);
            if !pending.missing.is_empty() {
                return self.admin_waits(client, pending);
            }
        }
        if pending.missing.is_empty() && rests(io, client, &mut pending) {
            return self.admin_waits(client, pending);
        }
        io.disarm(client, timer::ADMIN);
        io.pause(client, false);
        if let Some(admin) = self.clients.get_mut(client).and_then(|client| client.admin.as_mut()) {
            admin.answer = Some(pending.table());
        }
    }

    fn admin_waits(&mut self, client: Key, pending: Pending) {
        if let Some(admin) = self.clients.get_mut(client).and_then(|client| client.admin.as_mut()) {
            admin.pending = Some(pending);
        }
    }

    /// This worker's part; with the client that asks, which is not among the others while it is worked on.
    fn carry_out(&mut self, io: &mut dyn Io, command: &Command, client: Option<&Client>, is_again: bool) -> Table {
        match command {
            Command::Empty => Table::default(),
            Command::Show(topic) => Table::new(self.report(io, *topic, client)),
            Command::Order(order, database) => {
                let left = if is_again { self.left(io, *order, database) } else { self.obey(io, *order, database) };
                Table::new(vec![vec![left.into()]])
            }
        }
    }
}

/// Whether something is left of an order: then all are asked again after a pause.
fn rests(io: &mut dyn Io, client: Key, pending: &mut Pending) -> bool {
    pending.is_resting = pending.left() > 0;
    if pending.is_resting {
        io.arm(client, timer::ADMIN, io.now() + PAUSE);
    }
    pending.is_resting
}

fn head(out: &mut Vec<u8>, worker: usize, client: Key, number: u32) {
    for word in [worker as u32, client.slot, client.generation, number] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

fn read_head(cursor: &mut Cursor<'_>) -> Option<(usize, Key, u32)> {
    let worker = cursor.u32().ok()? as usize;
    let client = Key { slot: cursor.u32().ok()?, generation: cursor.u32().ok()? };
    Some((worker, client, cursor.u32().ok()?))
}

/// SHOW travels as its topic's number; an order as this, its place among all, whether it is asked again, and the database.
const ORDER: u8 = u8::MAX;

fn ask(worker: usize, client: Key, number: u32, command: &Command, is_again: bool) -> Vec<u8> {
    let mut question = vec![mail::ADMIN_QUESTION];
    head(&mut question, worker, client, number);
    match command {
        Command::Show(topic) => question.push(topic.number()),
        Command::Order(order, database) => {
            question.extend_from_slice(&[ORDER, order.number(), u8::from(is_again)]);
            question.extend_from_slice(database.as_bytes());
        }
        Command::Empty => {}
    }
    question
}

fn read_question(body: &[u8]) -> Option<(usize, Key, u32, Command, bool)> {
    let mut cursor = Cursor::new(body);
    let (worker, client, number) = read_head(&mut cursor)?;
    let (command, is_again) = match cursor.u8().ok()? {
        ORDER => {
            let (order, is_again) = (Order::of_number(cursor.u8().ok()?)?, cursor.u8().ok()? != 0);
            (Command::Order(order, String::from_utf8_lossy(cursor.rest()).into_owned()), is_again)
        }
        topic => (Command::Show(Topic::of_number(topic)?), false),
    };
    Some((worker, client, number, command, is_again))
}
