//! What the lifecycle needs to know of a specification.

use serde::{Deserialize, Serialize};
use sessile_model::wire::Open;
use sessile_model::{Millis, Property, PropertyStatus, Spec};

/// How long a result waits to be collected when the specification does not say: 24 hours.
pub const DEFAULT_LINGER: Millis = Millis(24 * 60 * 60 * 1000);

/// The part of a specification that decides a session's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What becomes of the session when its command exits.
    pub command: MainCommand,
    /// Ends the session this long after it opened.
    pub ttl: Option<Millis>,
    /// Ends the session after this long without input, output or a client.
    pub idle_timeout: Option<Millis>,
    /// Properties that may be weaker than defined.
    pub accept_weaker: Vec<Property>,
}

/// Whether there is a main command, and what its exit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MainCommand {
    /// There is none: no exit ends the session.
    None,
    /// The session outlives it.
    Kept,
    /// Its exit ends the session: at once if a client is attached, else when the result was
    /// collected or has waited this long.
    Ends {
        /// How long a result waits.
        linger: Millis,
    },
}

impl Opening {
    /// Whether there is a main command.
    pub fn has_command(&self) -> bool {
        match self.command {
            MainCommand::None => false,
            MainCommand::Kept | MainCommand::Ends { .. } => true,
        }
    }

    /// Whether this finding is good enough: the property holds as defined, or the specification
    /// accepted it as weaker and the finding names why it is. A property that neither holds nor
    /// says in what way it is weaker is broken, whatever was accepted.
    pub fn accepts(&self, property: Property, status: &PropertyStatus) -> bool {
        if status.weaker_because.is_empty() { status.holds } else { self.accept_weaker.contains(&property) }
    }
}

impl From<&Spec> for Opening {
    fn from(spec: &Spec) -> Self {
        let command = if spec.command.is_empty() {
            MainCommand::None
        } else if spec.keep {
            MainCommand::Kept
        } else {
            MainCommand::Ends { linger: spec.linger.unwrap_or(DEFAULT_LINGER) }
        };
        Self {
            command,
            ttl: spec.ttl,
            idle_timeout: spec.idle_timeout,
            accept_weaker: spec.accept_weaker.clone(),
        }
    }
}

impl From<&Open> for Opening {
    fn from(open: &Open) -> Self {
        Self::from(&open.spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(holds: bool, weaker: &[&str]) -> PropertyStatus {
        PropertyStatus {
            holds,
            evidence: Vec::new(),
            weaker_because: weaker.iter().map(|&w| w.to_owned()).collect(),
        }
    }

    #[test]
    fn only_a_named_weakness_can_be_accepted() {
        let mut opening = Opening::from(&Spec::default());
        let p = Property::Amnesia;
        for (accepted, holds, weaker, good) in [
            (false, true, &[][..], true),
            (false, false, &[][..], false),
            (false, true, &["swap"][..], false),
            (false, false, &["swap"][..], false),
            (true, true, &[][..], true),
            (true, false, &[][..], false),
            (true, true, &["swap"][..], true),
            (true, false, &["swap"][..], true),
        ] {
            opening.accept_weaker = if accepted { vec![p] } else { vec![Property::Routing] };
            assert_eq!(opening.accepts(p, &status(holds, weaker)), good, "{accepted} {holds} {weaker:?}");
        }
    }

    #[test]
    fn what_an_exit_means_follows_from_the_specification() {
        let mut spec = Spec { keep: true, ..Spec::default() };
        assert_eq!(Opening::from(&spec).command, MainCommand::None);
        spec.command = vec!["sh".into()];
        assert_eq!(Opening::from(&spec).command, MainCommand::Kept);
        spec.keep = false;
        assert_eq!(Opening::from(&spec).command, MainCommand::Ends { linger: DEFAULT_LINGER });
    }
}
