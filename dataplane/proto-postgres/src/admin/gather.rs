//! The answer of all workers: asked by mail, and added up by the worker whose client asked.

use super::command::{Command, Topic};
use super::table::Table;
use crate::client::Client;
use crate::machine::{Postgres, timer};
use crate::mail;
use wire::{Cursor, Io, Key, MILLIS, Nanos};

/// A worker that does not answer within this is overloaded or hangs; its part is left out, and said so.
const PATIENCE: Nanos = 2_000 * MILLIS;

/// A question under way.
pub struct Pending {
    number: u32,
    topic: Option<Topic>,
    table: Table,
    missing: Vec<usize>,
}

impl Postgres {
    /// What the command comes to; `None`: the client is paused until all workers have answered, and asks again then.
    pub(super) fn ask_all(&mut self, io: &mut dyn Io, client: &Client, command: &Command, number: u32) -> Result<Table, Pending> {
        let mut table = self.carry_out(io, command, Some(client));
        let topic = if let Command::Show(topic) = command { Some(*topic) } else { None };
        let is_local = matches!(command, Command::Empty) || topic.is_some_and(Topic::is_local);
        let missing: Vec<usize> = (0..self.worker.count).filter(|worker| !is_local && *worker != self.worker.index).collect();
        if missing.is_empty() {
            table.merge(command.columns());
            return Ok(table);
        }
        let question = ask(self.worker.index, client.key, number, command);
        missing.iter().for_each(|worker| io.mail(*worker, question.clone()));
        io.arm(client.key, timer::ADMIN, io.now() + PATIENCE);
        Err(Pending { number, topic, table, missing })
    }

    /// A question of another worker.
    pub(crate) fn admin_question(&mut self, io: &mut dyn Io, body: &[u8]) {
        let Some((worker, client, number, command)) = read_question(body) else { return };
        let table = self.carry_out(io, &command, None);
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
        let columns = pending.topic.map_or(&[][..], Topic::columns);
        if let Some(table) = Table::decode(cursor.rest(), columns) {
            pending.table.rows.extend(table.rows);
            pending.table.warnings.extend(table.warnings);
            pending.missing.retain(|missing| *missing != worker);
        }
        if pending.missing.is_empty() {
            self.admin_complete(io, client);
        }
    }

    /// All have answered, or no more will.
    pub(crate) fn admin_complete(&mut self, io: &mut dyn Io, client: Key) {
        let Some(admin) = self.clients.get_mut(client).and_then(|client| client.admin.as_mut()) else { return };
        let Some(Pending { topic, mut table, missing, .. }) = admin.pending.take() else { return };
        table.merge(topic.map_or(&[], Topic::columns));
        if !missing.is_empty() {
            table.warnings.push(format!("workers {missing:?} did not answer in time; their part is missing"));
        }
        admin.answer = Some(table);
        io.disarm(client, timer::ADMIN);
        io.pause(client, false);
    }

    /// This worker's part; with the client that asks, which is not among the others while it is worked on.
    fn carry_out(&mut self, io: &mut dyn Io, command: &Command, client: Option<&Client>) -> Table {
        match command {
            Command::Empty => Table::default(),
            Command::Show(topic) => Table::new(self.report(io, *topic, client)),
            Command::Reconnect(database) => {
                self.reconnect(io, database);
                Table::default()
            }
        }
    }
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

/// SHOW travels as its topic's number, RECONNECT as 255 and the database.
const RECONNECT: u8 = u8::MAX;

fn ask(worker: usize, client: Key, number: u32, command: &Command) -> Vec<u8> {
    let mut question = vec![mail::ADMIN_QUESTION];
    head(&mut question, worker, client, number);
    match command {
        Command::Show(topic) => question.push(topic.number()),
        Command::Reconnect(database) => {
            question.push(RECONNECT);
            question.extend_from_slice(database.as_bytes());
        }
        Command::Empty => {}
    }
    question
}

fn read_question(body: &[u8]) -> Option<(usize, Key, u32, Command)> {
    let mut cursor = Cursor::new(body);
    let (worker, client, number) = read_head(&mut cursor)?;
    let command = match cursor.u8().ok()? {
        RECONNECT => Command::Reconnect(String::from_utf8_lossy(cursor.rest()).into_owned()),
        topic => Command::Show(Topic::of_number(topic)?),
    };
    Some((worker, client, number, command))
}
