//! What the shards of a scattered statement answer.

use crate::back::Turn;
use crate::client::Client;
use crate::error::Error;
use crate::fallback::{self, gathers};
use crate::machine::Postgres;
use crate::memory::parameter;
use crate::message::{self, HEADER, Head, head};
use crate::owed::broken;
use crate::scatter::{MERGE_BUDGET, Scatter};
use crate::server::{Expect, Quiet, Server};
use sql::merge::{Column, Merger};
use wire::{Cursor, Fault, Io};

const PORTAL_SUSPENDED: &[u8] = b"s\0\0\0\x04";

/// What one message of a shard means for the others.
pub(crate) enum Leg {
    On,
    /// Its rows are not wanted now; the message stays.
    Wait,
    /// Its ReadyForQuery came.
    Ready,
}

impl Postgres {
    /// Bytes of one shard.
    pub(crate) fn leg_data(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, bytes: &[u8]) -> (usize, Result<Turn, Fault>) {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let (tag, total) = match head(rest, message::backend_limit) {
                Head::Short => return (at, Ok(Turn::On)),
                Head::Frame { tag, total } => (tag, total),
                Head::Bad { tag, length } => return (at, Err(broken(tag, &format!("its length is {length}")))),
            };
            if total > message::MAX_HELD {
                let error = Error::statement(
                    "54000",
                    format!("a row over several shards has {total} bytes; Midstream merges rows of up to {}", message::MAX_HELD),
                );
                self.fail_scatter(io, server, client, &error);
                io.skip(server.key, total.saturating_sub(rest.len()) as u64);
                at += total.min(rest.len());
                continue;
            }
            let Some(body) = rest.get(HEADER..total) else {
                io.want(server.key, total);
                return (at, Ok(Turn::On));
            };
            let leg = match server.expect.front() {
                Some(Expect::Quiet(_)) => self.quiet_message(io, server, client, tag, body),
                _ if gathers(client, server) => self.gathered(io, server, client, tag, body),
                _ => self.leg_message(io, server, client, tag, body),
            };
            match leg {
                Ok(Leg::Wait) => return (at, Ok(Turn::On)),
                Ok(Leg::On) => at += total,
                Ok(Leg::Ready) => {
                    server.has_unread = rest.len() > total;
                    return (at + total, Ok(self.leg_ready(io, server, client)));
                }
                Err(fault) => return (at, Err(fault)),
            }
        }
    }

    fn leg_message(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, tag: u8, body: &[u8]) -> Result<Leg, Fault> {
        let Some(scatter) = client.scatter.as_deref_mut() else { return Ok(Leg::On) };
        let Some(source) = scatter.legs.iter().position(|leg| *leg == server.key) else { return Ok(Leg::On) };
        let is_merging = !scatter.is_failed;
        let result = match tag {
            b'Z' => {
                server.status = body.first().copied().unwrap_or(b'I');
                server.expect.pop_front();
                return Ok(Leg::Ready);
            }
            b'D' if is_merging => match &mut scatter.merger {
                None => return Err(broken(tag, "a row came before its description")),
                Some(merger) if !merger.is_done() && !merger.wants(source) => {
                    scatter.unread.push(source);
                    io.pause(server.key, true);
                    return Ok(Leg::Wait);
                }
                Some(merger) => merger.row(source, body, io.out(client.key)).map_err(Error::from),
            },
            b'T' if is_merging => describe(scatter, body, io.out(client.key)),
            b'C' if is_merging => scatter.merger.as_mut().map_or(Ok(()), |merger| merger.end(source, io.out(client.key)).map_err(Error::from)),
            b'E' if is_merging => {
                scatter.is_failed = true;
                message::frame(io.out(client.key), b'E', |out| out.extend_from_slice(body));
                self.stop_others(io, server, client);
                return Ok(Leg::On);
            }
            b'N' if is_merging => {
                message::frame(io.out(client.key), b'N', |out| out.extend_from_slice(body));
                Ok(())
            }
            b'S' => {
                parameter(server, body);
                Ok(())
            }
            b'D' | b'T' | b'C' | b'E' | b'N' | b'A' | b'1' | b'2' | b'n' | b't' | b'I' => Ok(()),
            other => return Err(broken(other, "it does not belong to a SELECT")),
        };
        match result {
            Ok(()) => self.resume_legs(io, client),
            Err(error) => self.fail_scatter(io, server, client, &error),
        }
        Ok(Leg::On)
    }

    /// Our own setting up of the session.
    fn quiet_message(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, tag: u8, body: &[u8]) -> Result<Leg, Fault> {
        match tag {
            b'S' => parameter(server, body),
            b'E' => {
                match client.scatter.as_deref_mut() {
                    // Still collecting: the statement is answered with it when it is presented again.
                    None => client.refused = Some(Error::of_server(body)),
                    Some(scatter) if !scatter.is_failed => {
                        scatter.is_failed = true;
                        message::frame(io.out(client.key), b'E', |out| out.extend_from_slice(body));
                    }
                    Some(_) => {}
                }
                server.quiet_error = Some(Vec::new());
            }
            b'Z' => {
                if let Some(Expect::Quiet(Quiet::Settings(settings))) = server.expect.pop_front() {
                    server.settings = server.quiet_error.take().is_none().then_some(settings);
                }
            }
            _ => {}
        }
        Ok(Leg::On)
    }

    /// One shard is ready: it goes back to its pool; the last one ends the statement.
    fn leg_ready(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) -> Turn {
        client.legs.retain(|leg| *leg != server.key);
        let is_last = client.scatter.as_deref_mut().is_none_or(|scatter| {
            scatter.running = scatter.running.saturating_sub(1);
            scatter.running == 0
        });
        self.give_back(io, server);
        if !is_last {
            return Turn::Released;
        }
        let Some(scatter) = client.scatter.take() else { return Turn::Released };
        let out = io.out(client.key);
        if !scatter.is_failed {
            let rows = scatter.merger.as_ref().map_or(0, Merger::rows);
            if scatter.max_rows == Some(rows) {
                out.extend_from_slice(PORTAL_SUSPENDED);
            } else {
                message::complete(out, format!("SELECT {rows}").as_bytes());
            }
        } else if !scatter.is_simple {
            client.is_skipping = true;
        }
        if scatter.is_simple {
            message::ready(out, client.local_status());
            self.answered_request(io, client);
        }
        io.pause(client.key, false);
        Turn::Released
    }

    /// Rows may be wanted again of shards that were not read.
    fn resume_legs(&mut self, io: &mut dyn Io, client: &mut Client) {
        let Some(scatter) = client.scatter.as_deref_mut().filter(|scatter| !scatter.unread.is_empty()) else { return };
        let Scatter { merger, unread, legs, .. } = scatter;
        unread.retain(|source| {
            let is_wanted = merger.as_ref().is_none_or(|merger| merger.is_done() || merger.wants(*source));
            legs.get(*source).filter(|_| is_wanted).inspect(|leg| io.pause(**leg, false));
            !is_wanted
        });
    }

    pub(crate) fn fail_scatter(&mut self, io: &mut dyn Io, server: &Server, client: &mut Client, error: &Error) {
        let Some(scatter) = client.scatter.as_deref_mut().filter(|scatter| !scatter.is_failed) else { return };
        scatter.is_failed = true;
        client.meter.error(&error.code);
        error.write(io.out(client.key));
        self.stop_others(io, server, client);
    }

    /// The statement has failed: what the others still compute is for nobody.
    fn stop_others(&mut self, io: &mut dyn Io, server: &Server, client: &mut Client) {
        fallback::stop(io, client);
        for leg in client.legs.iter().filter(|leg| **leg != server.key) {
            io.pause(*leg, false);
            self.cancel_on(io, *leg);
        }
    }
}

/// A RowDescription: the first one makes the merger, the others have to agree with it.
fn describe(scatter: &mut Scatter, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let columns = columns(body).ok_or_else(|| Error::statement("08P01", "a shard sent a malformed RowDescription"))?;
    let oids: Vec<u32> = columns.iter().map(|column| column.type_oid).collect();
    if scatter.merger.is_some() {
        return if oids == scatter.columns {
            Ok(())
        } else {
            Err(Error::statement("42P16", "the shards disagree on the types of this result's columns")
                .hint("Bring the tables' schemas on all shards into line."))
        };
    }
    scatter.merger = Some(Merger::new(&scatter.spec, &columns, scatter.legs.len(), scatter.bounds, MERGE_BUDGET)?);
    scatter.columns = oids;
    if scatter.is_described {
        scatter.spec.describe(body, out)?;
    }
    Ok(())
}

fn columns(body: &[u8]) -> Option<Vec<Column>> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16().ok()?;
    let mut columns = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        cursor.c_string().ok()?;
        cursor.skip(6).ok()?;
        let type_oid = cursor.u32().ok()?;
        cursor.skip(6).ok()?;
        columns.push(Column { type_oid, binary: cursor.u16().ok()? == 1 });
    }
    Some(columns)
}
