//! Where sessions meet the names of their virtual cluster.

use super::{Stretch, support};
use crate::session::Session;
use crate::walk::Malformed;

impl Session {
    /// The size to announce for a response that is walked; `None` when more of its `frame` is needed. `body` is where its body begins.
    pub(crate) fn stretch_response(&mut self, program: u32, size: u32, body: usize, frame: &[u8]) -> Result<Option<u32>, Malformed> {
        let Some(cluster) = self.listener.virtual_cluster.as_ref().filter(|_| support::is_renamed(program)) else { return Ok(Some(size)) };
        let Some(pending) = self.ring.front() else { return Ok(Some(size)) };
        let is_flexible = pending.api.is_some_and(|api| api.is_flexible(pending.version));
        let length = (u64::from(size) + 4).saturating_sub(body as u64);
        let front = frame.get(body..).unwrap_or_default();
        let Some(stretch) = Stretch::begin(cluster, program, is_flexible, true, front, length)? else { return Ok(None) };
        let announced = stretch.announced(size)?;
        self.stretch = Some(stretch);
        Ok(Some(announced))
    }
}
