//! Which hosts a session may reach, as options and configuration name them.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sessile_jar::Host;
use sessile_model::network::{
    HOST_NAME, HostPattern, InvalidNetwork, Network, NetworkLimits, Route, Target, Unknown,
};
use sessile_model::problem::ProblemKind;

use crate::config::{Config, RunDefaults};
use crate::credentials;
use crate::failure::Failure;
use crate::options::SessionOptions;
use crate::request::Place;
use crate::{proxy, registries, tor};

/// The lists that are built in.
const BUILT_IN: &str = include_str!("../data/hosts.toml");

/// A host or hosts, or a list of them by name: `@github`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostArgument {
    /// These.
    Target(Target),
    /// A list.
    List(String),
}

impl FromStr for HostArgument {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        match text.strip_prefix('@') {
            Some(name) => Ok(Self::List(name.to_owned())),
            None if text.is_ascii() => text.parse().map(Self::Target),
            None => in_ascii(text).ok_or(InvalidNetwork::Target)?.parse().map(Self::Target),
        }
    }
}

/// A name in another script as programs look it up (IDNA), with what stood round it.
fn in_ascii(text: &str) -> Option<String> {
    let (start, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    let (name, port) = rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
    let host = Host::parse(name).ok()?;
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Some([start, host.as_str(), &port].concat())
}

impl<'de> Deserialize<'de> for HostArgument {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|e| serde::de::Error::custom(format!("{text:?} is {e}")))
    }
}

/// Lists of hosts by name.
pub type Lists = BTreeMap<String, Vec<Target>>;

/// The built-in lists, those of package managers as the caller's are configured, and the caller's
/// own; one of the same name replaces a built-in one.
///
/// # Errors
/// Never in a released program: the built-in data is checked by a test.
pub fn lists(own: &Lists, home: &Path) -> Result<Lists, Failure> {
    let mut lists: Lists = toml::from_str(BUILT_IN)
        .map_err(|e| Failure::new(ProblemKind::Internal, format!("the built-in lists of hosts: {e}")))?;
    registries::configured(&mut lists, home, |name| std::env::var(name).ok());
    lists.extend(own.clone());
    Ok(lists)
}

/// The targets that arguments stand for.
///
/// # Errors
/// When a list is not known.
pub fn resolve(arguments: &[HostArgument], lists: &Lists) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for argument in arguments {
        match argument {
            HostArgument::Target(target) => targets.push(target.clone()),
            HostArgument::List(name) => targets.extend(lists.get(name).cloned().ok_or_else(|| {
                let known: Vec<String> = lists.keys().map(|name| format!("@{name}")).collect();
                Failure::new(ProblemKind::NotFound, format!("there is no list of hosts @{name}"))
                    .hint(format!("there is {}; or write one into [hosts] in config.toml", known.join(", ")))
            })?),
        }
    }
    targets.dedup();
    Ok(targets)
}

/// Where a session may go.
///
/// # Errors
/// When a list is not known, or the lines for tor or the certificates cannot be read or used.
pub fn network(
    options: &SessionOptions,
    defaults: &RunDefaults,
    of_preset: &[HostArgument],
    (config, place): (&Config, &Place),
    notices: &mut Vec<String>,
) -> Result<Network, Failure> {
    let route = options.route.clone().or_else(|| defaults.route.clone()).unwrap_or_default();
    let opened = [("--allow", &options.allow), ("--ask", &options.ask)];
    if let (Route::None, Some((option, _))) = (&route, opened.iter().find(|(_, given)| !given.is_empty())) {
        let by = if options.route.is_some() { "--route none" } else { "`route = \"none\"` in config.toml" };
        let detail = format!("{option} opens nothing with {by}: without a route no host is reached");
        return Err(Failure::new(ProblemKind::BadRequest, detail)
            .hint(format!("leave out {option}, or choose a way out such as --route direct")));
    }
    for (option, size) in [("--net-bytes", options.net_bytes), ("--net-rate", options.net_rate)] {
        if size.is_some_and(|size| size.0 == 0) {
            let detail = format!("{option} 0 lets nothing pass: that is --route none");
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        }
    }
    let lists = lists(&config.hosts, &place.home)?;
    let targets = |given: &[HostArgument], more: &[HostArgument]| {
        let all: Vec<HostArgument> = given.iter().chain(more).cloned().collect();
        resolve(&all, &lists)
    };
    let allow = targets(&[&options.allow, of_preset].concat(), &defaults.allow)?;
    let ask = targets(&options.ask, &defaults.ask)?;
    notices.extend(allow.iter().chain(&ask).filter(|target| is_own(target)).map(|target| {
        format!("warning: {target} is the session's own loopback; {HOST_NAME} names this machine's")
    }));
    Ok(Network {
        credentials: proxy::credentials(options, defaults, &route, (place, notices))?,
        tor_config: tor::config(options, defaults, &route)?,
        tor_entry: tor::entry(options, defaults, &route),
        route,
        allow,
        ask,
        deny: targets(&options.deny, &defaults.deny)?,
        unknown: match options.no_questions {
            true => Unknown::Deny,
            false => defaults.unknown.unwrap_or_default(),
        },
        limits: NetworkLimits {
            connections: options.net_connections,
            bytes: options.net_bytes,
            rate: options.net_rate,
        },
        intercept: targets(&options.intercept, &defaults.intercept)?,
        upstream_ca: match options.upstream_ca.as_ref().or(defaults.upstream_ca.as_ref()) {
            Some(path) => credentials::certificates(path)?,
            None => String::new(),
        },
        policies: Vec::new(),
    })
}

/// Whether programs inside reach it without a route.
fn is_own(target: &Target) -> bool {
    match &target.host {
        HostPattern::Exact(name) => name == "localhost",
        HostPattern::Address(address) => address.to_canonical().is_loopback(),
        HostPattern::Any | HostPattern::Below(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lists_are_valid_and_own_ones_replace_them() {
        let nowhere = Path::new("/nonexistent");
        let all = lists(&Lists::new(), nowhere).unwrap();
        assert!(all.contains_key("github") && all.values().all(|targets| !targets.is_empty()));
        let own = Lists::from([("github".to_owned(), vec!["git.example:443".parse().unwrap()])]);
        let all = lists(&own, nowhere).unwrap();
        let arguments = ["@github", "a.example"].map(|a| a.parse().unwrap());
        let shown: Vec<String> = resolve(&arguments, &all).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["git.example:443", "a.example"]);
        assert!(resolve(&["@nothing".parse().unwrap()], &all).is_err());
        assert!("http://a".parse::<HostArgument>().is_err());
        let shown = |text: &str| match text.parse() {
            Ok(HostArgument::Target(target)) => target.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(shown("*.Bücher.example:443"), "*.xn--bcher-kva.example:443");
        assert_eq!(shown("bücher.example"), "xn--bcher-kva.example");
        assert!("bü cher.example".parse::<HostArgument>().is_err());
    }
}
