//! Where a statement goes: nothing to decide (no filters, one shard), or looked up in the flow table, or asked of the planner.

use crate::client::Client;
use crate::error::Error;
use crate::machine::{Postgres, timer};
use sql::flow::{Ask, FlowKey, question};
use sql::plan::Target;
use sql::{Effect, Flow, Lexed, Plan, Refusal, Values};
use std::rc::Rc;
use std::sync::Arc;
use wire::{Chain, Io, Nanos, Outcome, Request, Upcall, Verdict};

/// What was asked and decided for the client's message at the front; cleared when it is worked off.
#[derive(Default)]
pub struct Wanted {
    call: Option<Call>,
    /// An answer that the flow table does not keep.
    answer: Option<(FlowKey, Result<Rc<Flow>, Error>)>,
    /// How many statements of the message have passed the filters: their counters count each once.
    judged: u32,
    is_delayed: bool,
}

impl Wanted {
    /// The message is worked off.
    #[inline]
    pub fn clear(&mut self) {
        self.answer = None;
        self.judged = 0;
    }

    /// Something is to come for the message.
    pub fn is_pending(&self) -> bool {
        self.call.is_some() || self.is_delayed
    }

    /// A filter's delay is over.
    pub fn delayed(&mut self) {
        self.is_delayed = false;
    }

    /// The rules have changed: what was asked is void.
    pub fn forget(&mut self) -> bool {
        self.answer = None;
        self.call.take().is_some()
    }
}

/// A question under way. The statement's effect on its session is told by its words: the planner knows tables, not sessions.
struct Call {
    number: u64,
    key: FlowKey,
    effect: Effect,
    fingerprint: u128,
}

/// What is known of a statement so far.
pub enum Known<T> {
    /// That.
    Yes(T),
    /// The client is paused until it is.
    Parked,
    /// It is not executed.
    Refused(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::statement(&refusal.sqlstate, refusal.message).detail(refusal.detail).hint(refusal.hint)
    }
}

impl Postgres {
    /// The flow of one statement: from the table, from the planner's answer, or asked for now.
    pub(crate) fn flow(&mut self, io: &mut dyn Io, client: &mut Client, lexed: &Lexed, oids: &[u32]) -> Known<Rc<Flow>> {
        let key = FlowKey::new(lexed.fingerprint, client.context, oids);
        if let Some(flow) = self.flows.get(key) {
            return Known::Yes(flow.clone());
        }
        match client.wanted.answer.take() {
            Some((of, answer)) if of == key => {
                client.wanted.answer = Some((of, answer.clone()));
                return answer.map_or_else(Known::Refused, Known::Yes);
            }
            _ => {}
        }
        let effect = Effect::of(lexed);
        if !effect.needs_plan() {
            let flow = Rc::new(Flow { plan: Plan::home(effect.class, effect.verb.as_str()), effect, filter: wire::Flow::default() });
            self.flows.insert(key, flow.clone());
            return Known::Yes(flow);
        }
        let database = &client.listener.database;
        let ask = Ask {
            database: &database.name,
            rules_version: &database.rules_version,
            user: &client.user,
            search_path: client.settings.get("search_path").unwrap_or(""),
            parameter_types: oids,
        };
        match question(lexed, &ask) {
            Ok(body) => {
                let number = io.upcall(client.key, Upcall { topic: "plan", body });
                client.wanted.call = Some(Call { number, key, effect, fingerprint: lexed.fingerprint });
                io.pause(client.key, true);
                Known::Parked
            }
            Err(refusal) => Known::Refused(refusal.into()),
        }
    }

    /// The planner's answer: into the flow table, and on with the message.
    pub(crate) fn answered(&mut self, io: &mut dyn Io, client: &mut Client, number: u64, body: Option<&[u8]>) {
        let Some(Call { key, effect, fingerprint, .. }) = client.wanted.call.take_if(|call| call.number == number) else { return };
        let answer = match body {
            Some(body) => Plan::decode(body, &client.listener.database.rules).map_err(Error::from),
            None => Err(Error::statement("57014", "Midstream's planner did not answer in time").hint("It is stopped or overloaded; try again.")),
        };
        let answer = answer.map(|plan| {
            let bind = |chain: &Arc<dyn Chain>| with_request(client, &plan, fingerprint, 0, |request| chain.bind(request));
            let filter = client.listener.chain.as_ref().map(bind).unwrap_or_default();
            (plan.cacheable, Rc::new(Flow { plan, effect, filter }))
        });
        match answer {
            Ok((true, flow)) => self.flows.insert(key, flow),
            Ok((false, flow)) => client.wanted.answer = Some((key, Ok(flow))),
            Err(error) => client.wanted.answer = Some((key, Err(error))),
        }
        io.pause(client.key, false);
    }

    /// What the filters say to the `nth` statement of the message; each is asked once, however often the message is presented.
    pub(crate) fn judge(&mut self, io: &mut dyn Io, client: &mut Client, flow: &Rc<Flow>, fingerprint: u128, nth: u32, bytes: usize) -> Known<()> {
        if nth < client.wanted.judged {
            return Known::Yes(());
        }
        client.wanted.judged = nth + 1;
        let filter = &flow.filter;
        if filter.tapped {
            client.tapped = Some((flow.clone(), fingerprint, bytes));
        }
        if let Some(denial) = &filter.denied {
            return Known::Refused(Error::denied(denial));
        }
        let Some(chain) = client.listener.chain.clone().filter(|_| !filter.counted.is_empty()) else { return Known::Yes(()) };
        let (now, dice) = (io.now(), io.random());
        match with_request(client, &flow.plan, fingerprint, bytes as u64, |request| chain.run(filter, request, now, dice)) {
            Verdict::Pass => Known::Yes(()),
            Verdict::Deny(denial) => Known::Refused(Error::denied(&denial)),
            Verdict::Delay(time) => {
                client.wanted.is_delayed = true;
                io.arm(client.key, timer::DELAY, now.saturating_add(time));
                io.pause(client.key, true);
                Known::Parked
            }
        }
    }

    /// Tells the access log how the request ended.
    pub(crate) fn log(&self, client: &mut Client, took: Nanos) {
        let failed = client.failed.take();
        let Some((flow, fingerprint, bytes)) = client.tapped.take() else { return };
        let Some(chain) = client.listener.chain.clone() else { return };
        let database = client.listener.database.clone();
        let shard = client.server.and_then(|_| database.shards.get(usize::from(client.shard)));
        let outcome = Outcome { took, error: failed.as_deref().unwrap_or(""), backend: shard.map_or("", |shard| &shard.name), ..Outcome::default() };
        with_request(client, &flow.plan, fingerprint, bytes as u64, |request| chain.done(request, &outcome));
    }

    /// Where this execution goes.
    pub(crate) fn target(client: &Client, flow: &Flow, values: &Values<'_>) -> Result<Target, Error> {
        if flow.effect.needs_plan() {
            flow.plan.target(&client.listener.database.rules, values).map_err(Error::from)
        } else {
            Ok(Target::Any) // the session's own affair: the connection at hand, or home
        }
    }
}

/// The statement as filters see it.
fn with_request<T>(client: &Client, plan: &Plan, fingerprint: u128, bytes: u64, then: impl FnOnce(&Request<'_>) -> T) -> T {
    let resources: Vec<&[u8]> = plan.tables.iter().map(String::as_bytes).collect();
    then(&Request { identity: &client.identity, class: plan.class, verb: &plan.verb, groups: &[], resources: &resources, bytes, fingerprint })
}
