//! The four enforcement properties.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the four promises that must hold before a session is active and while it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Property {
    /// Every packet leaves by the session's route or not at all.
    Routing,
    /// What a program can read from the system links it neither to another session nor to the
    /// host's user.
    Identity,
    /// Namespaces, no_new_privs, seccomp, Landlock, no capabilities.
    Sandbox,
    /// All state but the named grants lives in session storage and dies with it.
    Amnesia,
}

impl Property {
    /// All four, in the order in which they are verified and shown.
    pub const ALL: [Self; 4] = [Self::Routing, Self::Identity, Self::Sandbox, Self::Amnesia];

    /// The name used in flags and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Identity => "identity",
            Self::Sandbox => "sandbox",
            Self::Amnesia => "amnesia",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| "not a property (one of routing, identity, sandbox, amnesia)".to_owned())
    }
}

/// How a line of evidence begins that names the path of a grant.
pub const GRANTED_PATH: &str = "named link: granted ";

/// What the last probe of one property found.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PropertyStatus {
    /// Whether the property held when it was last probed. Never true before the first probe.
    pub holds: bool,
    /// What was looked at and what was found, one short sentence each.
    pub evidence: Vec<String>,
    /// Why it is weaker than its definition, where the specification accepted that by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weaker_because: Vec<String>,
}

/// The four properties of one session.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Properties {
    /// See [`Property::Routing`].
    pub routing: PropertyStatus,
    /// See [`Property::Identity`].
    pub identity: PropertyStatus,
    /// See [`Property::Sandbox`].
    pub sandbox: PropertyStatus,
    /// See [`Property::Amnesia`].
    pub amnesia: PropertyStatus,
}

impl Properties {
    /// The status of one property.
    pub fn of(&self, property: Property) -> &PropertyStatus {
        match property {
            Property::Routing => &self.routing,
            Property::Identity => &self.identity,
            Property::Sandbox => &self.sandbox,
            Property::Amnesia => &self.amnesia,
        }
    }

    /// Replaces the status of one property.
    pub fn replace(&mut self, property: Property, status: PropertyStatus) {
        *match property {
            Property::Routing => &mut self.routing,
            Property::Identity => &mut self.identity,
            Property::Sandbox => &mut self.sandbox,
            Property::Amnesia => &mut self.amnesia,
        } = status;
    }

    /// The same without the paths of grants.
    #[must_use]
    pub fn without_paths(mut self) -> Self {
        for status in [&mut self.routing, &mut self.identity, &mut self.sandbox, &mut self.amnesia] {
            for line in status.evidence.iter_mut().filter(|line| line.starts_with(GRANTED_PATH)) {
                *line = format!("{GRANTED_PATH}(path not kept)");
            }
        }
        self
    }

    /// Whether all four hold.
    pub fn all_hold(&self) -> bool {
        Property::ALL.iter().all(|&p| self.of(p).holds)
    }
}
