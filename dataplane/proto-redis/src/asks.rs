//! Errors of nodes that are the proxy's to solve.

/// What an error reply asks of the proxy. In none of these cases did the command run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asks {
    /// The slot is elsewhere for good.
    Moved,
    /// This key is elsewhere already.
    Ask,
    /// Send again, soon.
    Again,
    /// Send again when the cluster has settled; the slot table may be old.
    Refresh,
    /// The script is not there.
    Script,
    /// The function is not there.
    Function,
    /// Nothing: it is the client's.
    Nothing,
}

/// What this one asks.
pub(crate) fn asks(error: &[u8]) -> Asks {
    match error {
        [b'-', b'M', b'O', b'V', b'E', b'D', b' ', ..] => Asks::Moved,
        [b'-', b'A', b'S', b'K', b' ', ..] => Asks::Ask,
        [b'-', b'T', b'R', b'Y', b'A', b'G', b'A', b'I', b'N', ..] | [b'-', b'L', b'O', b'A', b'D', b'I', b'N', b'G', ..] => Asks::Again,
        _ if error.starts_with(b"-NOSCRIPT") => Asks::Script,
        _ if error.starts_with(b"-ERR Function not found") => Asks::Function,
        _ if error.starts_with(b"-CLUSTERDOWN") || error.starts_with(b"-READONLY") || error.starts_with(b"-MASTERDOWN") => Asks::Refresh,
        // It blocked on a master that became a replica; CLIENT UNBLOCK says the same code with other words.
        _ if error.starts_with(b"-UNBLOCKED force unblock") => Asks::Refresh,
        _ => Asks::Nothing,
    }
}
