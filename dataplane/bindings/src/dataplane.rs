//! The engine as Python sees it.

use crate::rooms::Rooms;
use crate::upcalls::Upcalls;
use crate::{PyRefusal, Resource, raws, refused};
use config::{Compiled, Invalid, Local, Raw, Refusal, Set, settle};
use engine::{Asked, BindFailure, Engine, FamilyPlan, Options};
use filters::{TapLines, TapQueue};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Client connections of one sidecar: well below the 20,000 descriptors that machines commonly give a process, two per client.
const MAX_CONNECTIONS: usize = 8_000;

/// A question of a parked session.
#[pyclass(frozen, name = "Upcall", module = "mesh_core._dataplane")]
pub struct PyUpcall(Asked);

#[pymethods]
impl PyUpcall {
    #[getter]
    fn topic(&self) -> &str {
        self.0.call.topic
    }

    #[getter]
    fn body(&self) -> &[u8] {
        &self.0.call.body
    }
}

/// The engine with its workers.
#[pyclass(frozen, module = "mesh_core._dataplane")]
pub struct Dataplane {
    engine: Engine,
    rooms: Rooms,
    upcalls: Arc<Upcalls>,
    tapped: Arc<TapQueue>,
    lines: Mutex<TapLines>,
    in_force: Mutex<Vec<Raw>>,
}

#[pymethods]
impl Dataplane {
    #[new]
    fn new(workers: usize) -> PyResult<Dataplane> {
        if workers == 0 {
            return Err(PyValueError::new_err("workers must be at least 1"));
        }
        let (tapped, lines) = filters::tap_queue();
        let tapped = Arc::new(tapped);
        let rooms = Rooms::new(tapped.clone());
        let upcalls = Arc::new(Upcalls::new()?);
        let options = Options {
            workers,
            families: rooms.families(),
            upcalls: upcalls.clone(),
            max_connections: MAX_CONNECTIONS,
            log: Arc::new(|line| eprintln!("level=warning event={line:?}")),
        };
        let engine = Engine::start(options).map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Dataplane { engine, rooms, upcalls, tapped, lines: Mutex::new(lines), in_force: Mutex::default() })
    }

    /// Puts the whole set in force, less what is refused.
    fn apply(&self, py: Python<'_>, resources: Vec<Resource>) -> Vec<PyRefusal> {
        let offered = raws(resources);
        refused(py.detach(|| self.put_in_force(&offered)))
    }

    /// What is in force now.
    fn in_force(&self) -> Vec<Resource> {
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        in_force.iter().map(|raw| (raw.type_url.clone(), raw.name.clone(), raw.version.clone(), raw.body.clone())).collect()
    }

    /// Reads the secrets of what is in force again.
    fn refresh(&self, py: Python<'_>) -> Vec<PyRefusal> {
        refused(py.detach(|| self.read_again()))
    }

    /// Listener name and address of every bound listener's own socket.
    fn listening(&self) -> Vec<(String, String)> {
        let mut own: Vec<_> = self.engine.addresses().into_iter().filter(|(_, facet, _)| *facet == 0).collect();
        own.sort();
        own.into_iter().map(|(listener, _, address)| (listener.to_string(), address.to_string())).collect()
    }

    /// Prometheus text, summed over the workers.
    fn metrics(&self, py: Python<'_>) -> String {
        let text = py.detach(|| wire::metrics::render(&self.engine.registries()));
        format!("{text}# TYPE midstream_tap_dropped_total counter\nmidstream_tap_dropped_total {}\n", self.tapped.dropped())
    }

    /// A descriptor that is readable while upcalls wait.
    fn upcall_fd(&self) -> RawFd {
        self.upcalls.descriptor()
    }

    /// The waiting upcalls, oldest first.
    fn take_upcalls(&self) -> Vec<PyUpcall> {
        self.upcalls.take().into_iter().map(PyUpcall).collect()
    }

    /// Resumes the session that asked.
    #[pyo3(signature = (upcall, body))]
    fn answer(&self, upcall: &PyUpcall, body: Option<Vec<u8>>) -> bool {
        let Asked { worker, key, number, .. } = upcall.0;
        self.engine.answer(worker, key, number, body)
    }

    /// Access log lines (JSON) since the last call.
    fn take_log(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stops listening, lets sessions finish, closes the rest at the deadline.
    fn drain(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let within = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(py.detach(|| self.engine.drain(within)))
    }
}

impl Dataplane {
    /// All or nothing: a file that is being written, or is gone, must not take a listener with it.
    fn read_again(&self) -> Vec<Refusal> {
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, mut refusals) = Set::decode(&in_force);
        let assembled = self.rooms.assemble(&set, &Local);
        refusals.extend(assembled.refusals);
        if refusals.is_empty() {
            self.engine.apply(plans(assembled.parts));
        }
        refusals
    }

    /// A socket that cannot be had refuses its listener like any other fault of it; then the rest is tried again without it.
    fn put_in_force(&self, offered: &[Raw]) -> Vec<Refusal> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failures: Vec<(String, Refusal)> = Vec::new();
        loop {
            let settled = settle(offered, &in_force, &mut |set| {
                let mut refusals = self.rooms.assemble(set, &Local).refusals;
                refusals.extend(still_failing(set, &failures));
                refusals
            });
            let failed = self.engine.apply(plans(self.rooms.assemble(&settled.set, &Local).parts));
            let known = failures.len();
            failures.extend(failed.iter().filter_map(|failure| unbound(&settled.set, failure)));
            if failures.len() == known {
                *in_force = settled.raws;
                return settled.refusals;
            }
        }
    }
}

fn plans(parts: Vec<Compiled>) -> Vec<FamilyPlan> {
    let plan = |(family, part): (usize, Compiled)| FamilyPlan { family, conf: part.conf, binds: part.binds };
    parts.into_iter().enumerate().map(plan).collect()
}

fn unbound(set: &Set, failure: &BindFailure) -> Option<(String, Refusal)> {
    let entry = set.listeners.get(&*failure.listener)?;
    let reason = format!("{} cannot be bound on this sidecar: {}; free it or choose another", failure.address, failure.reason);
    Some((entry.version.clone(), entry.refuse(Invalid::new("address", reason))))
}

fn still_failing(set: &Set, failures: &[(String, Refusal)]) -> Vec<Refusal> {
    let same = |(version, refusal): &&(String, Refusal)| set.listeners.get(&refusal.name).is_some_and(|entry| &entry.version == version);
    failures.iter().filter(same).map(|(_, refusal)| refusal.clone()).collect()
}
