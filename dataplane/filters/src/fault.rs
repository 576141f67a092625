//! Fault: delays and errors on purpose, for a share of the requests.

use crate::select::Selector;
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use std::sync::Arc;
use wire::{Denial, DenialKind, MILLIS, Nanos, Request};

/// A session parked for longer looks like a defect of the mesh to everyone who did not write the rule.
const MAX_DELAY_MS: u64 = 3_600_000;

/// A compiled Fault.
#[derive(Debug)]
pub struct Fault {
    selector: Selector,
    share: Share,
    effect: Effect,
}

/// What becomes of a request that the dice chose.
#[derive(Clone, Debug)]
pub enum Effect {
    Delay(Nanos),
    Error(Arc<Denial>),
}

impl Fault {
    /// Compiles the fault called `name`.
    pub fn new(name: &str, fault: &policy::Fault) -> Result<Fault, Invalid> {
        Ok(Fault { selector: Selector::new(fault.r#match.as_ref())?, share: Share::new(fault.percent)?, effect: effect(name, fault)? })
    }

    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.selector.matches(request)
    }

    /// What becomes of a request with these dice, if anything.
    pub fn strike(&self, dice: u64) -> Option<&Effect> {
        self.share.has(dice).then_some(&self.effect)
    }
}

fn effect(name: &str, fault: &policy::Fault) -> Result<Effect, Invalid> {
    match (fault.delay_ms, fault.error) {
        (0, false) => Err(Invalid::new("", "does nothing; give it a delay_ms or an error")),
        (1.., true) => Err(Invalid::new("delay_ms", "stands beside error, and an error is answered at once; keep one of them")),
        (delay @ 1..=MAX_DELAY_MS, false) => Ok(Effect::Delay(delay * MILLIS)),
        (delay, false) => Err(Invalid::new("delay_ms", format!("{delay} is over {MAX_DELAY_MS}, an hour; lower it"))),
        (0, true) => {
            let object: Arc<str> = format!("Fault/{name}").into();
            let message = match fault.message.as_str() {
                "" => format!("{object} injected this error on purpose; delete it to stop"),
                message => format!("{message} ({object} injected this)"),
            };
            Ok(Effect::Error(Arc::new(Denial { kind: DenialKind::Injected, rule: object, message })))
        }
    }
}

/// A share of all requests.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    percent: f64,
}

impl Share {
    /// Reads the field `percent`.
    pub fn new(percent: f64) -> Result<Share, Invalid> {
        if (0.0..=100.0).contains(&percent) {
            return Ok(Share { percent });
        }
        Err(Invalid::new("percent", format!("{percent} is not between 0 and 100")))
    }

    /// Whether uniform dice fall into the share; none do at 0, all at 100.
    pub fn has(self, dice: u64) -> bool {
        // The top 53 bits make a float in [0, 1) exactly.
        let point = (dice >> 11) as f64 / (1u64 << 53) as f64;
        point * 100.0 < self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(percent: f64, delay_ms: u64, error: bool) -> policy::Fault {
        policy::Fault { name: "slow".into(), listeners: vec!["*".into()], r#match: None, percent, delay_ms, error, message: String::new() }
    }

    #[test]
    fn the_share_is_what_it_says() {
        let hits = |percent| (0..1_000u64).filter(|step| Share::new(percent).unwrap().has(step * (u64::MAX / 999))).count();
        assert_eq!((hits(0.0), hits(5.0), hits(100.0)), (0, 50, 1_000));
    }

    #[test]
    fn a_delay_or_an_error() {
        assert!(
            matches!(Fault::new("slow", &fault(100.0, 50, false)).unwrap().strike(u64::MAX), Some(Effect::Delay(delay)) if *delay == 50 * MILLIS)
        );
        let failing = Fault::new("slow", &policy::Fault { message: "try again".into(), ..fault(100.0, 0, true) }).unwrap();
        let Some(Effect::Error(denial)) = failing.strike(0) else { panic!("no error") };
        assert_eq!(denial.message, "try again (Fault/slow injected this)");
        assert_eq!(denial.kind, DenialKind::Injected);
        assert!(Fault::new("slow", &fault(0.0, 50, false)).unwrap().strike(0).is_none());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let bad = |fault| Fault::new("slow", &fault).unwrap_err().field;
        assert_eq!(bad(fault(100.1, 50, false)), "percent");
        assert_eq!(bad(fault(f64::NAN, 50, false)), "percent");
        assert_eq!(bad(fault(-0.1, 50, false)), "percent");
        assert_eq!(bad(fault(5.0, 0, false)), "");
        assert_eq!(bad(fault(5.0, 50, true)), "delay_ms");
        assert_eq!(bad(fault(5.0, MAX_DELAY_MS + 1, false)), "delay_ms");
    }
}
