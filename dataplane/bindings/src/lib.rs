//! `mesh_core._dataplane`: the whole boundary between the half that decides and the half that moves bytes.
//!
//! The one crate that knows Python. What crosses: configurations in, refusals out; upcalls out, answers in; counters and log lines out.
//! `mesh_core/_dataplane.pyi` is its description; `make check` compares the two.

mod dataplane;
mod relay;
mod rooms;
mod upcalls;

use config::{Absent, Raw, Refusal};
use pyo3::prelude::*;
use std::sync::Arc;

/// type URL, name, version, message bytes.
type Resource = (String, String, String, Vec<u8>);

/// A resource that is not taken.
#[pyclass(frozen, name = "Refusal", module = "mesh_core._dataplane")]
struct PyRefusal(Refusal);

#[pymethods]
impl PyRefusal {
    #[getter]
    fn type_url(&self) -> &str {
        &self.0.type_url
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }

    #[getter]
    fn field(&self) -> &str {
        &self.0.field
    }

    #[getter]
    fn reason(&self) -> &str {
        &self.0.reason
    }

    fn __repr__(&self) -> String {
        format!("Refusal({} {} {}: {})", self.0.type_url, self.0.name, self.0.field, self.0.reason)
    }
}

fn raws(resources: Vec<Resource>) -> Vec<Raw> {
    resources.into_iter().map(|(type_url, name, version, body)| Raw { type_url, name, version, body }).collect()
}

fn refused(refusals: Vec<Refusal>) -> Vec<PyRefusal> {
    refusals.into_iter().map(PyRefusal).collect()
}

/// The same checks as `Dataplane.apply`, without secrets, sockets and effect.
#[pyfunction]
fn validate(py: Python<'_>, resources: Vec<Resource>) -> Vec<PyRefusal> {
    let offered = raws(resources);
    let refusals = py.detach(|| rooms::Rooms::new(Arc::new(filters::tap_queue().0)).validate(&offered, &Absent));
    refused(refusals)
}

#[pymodule]
fn _dataplane(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyRefusal>()?;
    module.add_class::<dataplane::PyUpcall>()?;
    module.add_class::<dataplane::Dataplane>()?;
    module.add_function(wrap_pyfunction!(validate, module)?)
}
