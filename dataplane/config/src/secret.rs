//! Secrets: named in resources, read where the sidecar runs, never printed.

use crate::proto::skeleton::{DataSource, data_source::Specifier};
use std::fmt;
use std::sync::Arc;

/// The largest secret that is read: a certificate chain with many intermediates stays far below.
const MAX_SECRET: u64 = 1024 * 1024;

/// The bytes of a password, key or certificate.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Wraps the bytes.
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes; mind where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Reads data sources.
pub trait Resolve: Sync {
    /// The bytes of a source, or a sentence why they can't be had.
    ///
    /// # Errors
    /// The sentence names the file or variable, never its content.
    fn resolve(&self, source: &DataSource) -> Result<Secret, String>;

    /// False where the values are stand-ins (admission on the control plane): what is built from them is not checked.
    fn is_real(&self) -> bool {
        true
    }
}

/// On the sidecar: its environment and its files. A trailing line break of a text secret is cut, as editors add one.
#[derive(Debug)]
pub struct Local;

impl Resolve for Local {
    fn resolve(&self, source: &DataSource) -> Result<Secret, String> {
        match &source.specifier {
            Some(Specifier::InlineBytes(bytes)) => Ok(Secret::new(bytes)),
            Some(Specifier::InlineString(text)) => Ok(Secret::new(text.as_bytes())),
            Some(Specifier::EnvironmentVariable(name)) => match std::env::var(name) {
                Ok(value) => Ok(Secret::new(value.as_bytes())),
                Err(_) => Err(format!("environment variable {name} is not set on this sidecar; set it and restart the sidecar")),
            },
            Some(Specifier::Filename(name)) => read(name),
            None => Err("the secret names no source; give a file or an environment variable".into()),
        }
    }
}

fn read(name: &str) -> Result<Secret, String> {
    let meta = std::fs::metadata(name).map_err(|error| format!("file {name} cannot be read on this sidecar: {error}"))?;
    if meta.len() > MAX_SECRET {
        return Err(format!("file {name} has {} bytes; a secret has at most {MAX_SECRET}", meta.len()));
    }
    let mut bytes = std::fs::read(name).map_err(|error| format!("file {name} cannot be read on this sidecar: {error}"))?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(Secret::new(&bytes))
}

/// On the control plane: a source only has to be named.
#[derive(Debug)]
pub struct Absent;

impl Resolve for Absent {
    fn resolve(&self, source: &DataSource) -> Result<Secret, String> {
        match &source.specifier {
            Some(_) => Ok(Secret::default()),
            None => Err("the secret names no source; give a file or an environment variable".into()),
        }
    }

    fn is_real(&self) -> bool {
        false
    }
}
