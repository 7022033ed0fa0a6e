//! What guards are to know from the beginning and that others keep: credentials, and what apps were given in
//! their environment. It lies in secret memory, and in no guard's file.

use std::os::fd::OwnedFd;

use sessile_model::Problem;
use sessile_model::guarding::outgoing::reader;
use sessile_model::guarding::{MOST_VALUE_BYTES, Order, Text, Value};
use sessile_model::network::HostPattern;
use sessile_model::spec::EnvVar;
use sessile_vault::secret::SecretMemory;
use zeroize::Zeroizing;

use crate::bringup::failed;
use crate::keeper::Keeper;

/// Whose the values are that nobody in the session has said.
const SESSION: &str = "the session";
/// How confidential a credential is.
const CRITICAL: u8 = 4;
/// Under which the anchor keeps variables of single commands.
const VARIABLES: &str = "guard/variables";

/// Variables that single commands were given, the newest last.
#[derive(Debug, Default)]
pub(super) struct Given(Option<SecretMemory>);

impl Given {
    /// What a predecessor left with the anchor.
    pub(super) fn adopt(file: Option<OwnedFd>) -> Self {
        Self(file.and_then(|file| SecretMemory::from_fd(file).ok()))
    }

    fn variables(&self) -> Vec<EnvVar> {
        self.0.as_ref().and_then(|memory| serde_json::from_slice(memory.expose()).ok()).unwrap_or_default()
    }
}

impl super::GuardState {
    /// Takes over what guards were given.
    pub(super) fn adopt_given(&mut self, store: &mut std::collections::BTreeMap<String, OwnedFd>) {
        self.given = Given::adopt(store.remove(VARIABLES));
    }
}

impl Keeper {
    /// Values that a guard is to know from the beginning: credentials, which go to their host alone.
    pub(super) fn given_values(&self) -> Vec<Value> {
        let credentials = self.credentials().into_iter().filter_map(|credential| {
            let host = match &credential.target.host {
                HostPattern::Exact(name) => name.clone(),
                HostPattern::Address(address) => address.to_string(),
                HostPattern::Any | HostPattern::Below(_) => return None,
            };
            let port = credential.target.port?;
            let whole = credential.value.0.as_str();
            let core = whole.split_once(' ').map_or(whole, |(_, core)| core);
            Some(Value {
                value: Text(core.to_owned()),
                confidentiality: CRITICAL,
                owner: SESSION.to_owned(),
                readers: [reader(&host, port)].into(),
            })
        });
        credentials.collect()
    }

    /// Variables of which a guard is to know what is secret: the session's, and those of single commands.
    pub(super) fn given_variables(&self) -> Vec<EnvVar> {
        let mut variables = self.variables();
        variables.extend(self.guard.given.variables());
        variables
    }

    /// Has guards know what a command is given, before it starts. Of more than they can know the oldest are
    /// forgotten.
    pub(crate) fn guard_variables(&mut self, given: &[EnvVar]) -> Result<(), Problem> {
        let known = self.given_variables();
        let fresh: Vec<EnvVar> = given.iter().filter(|variable| !known.contains(variable)).cloned().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut kept = self.guard.given.variables();
        kept.extend(fresh.iter().cloned());
        let json = loop {
            let json = Zeroizing::new(serde_json::to_vec(&kept).map_err(|e| failed("the environment", &e))?);
            if json.len() <= MOST_VALUE_BYTES || kept.len() == 1 {
                break json;
            }
            kept.remove(0);
        };
        let mut memory =
            SecretMemory::create(json.len()).map_err(|e| failed("secret memory for the environment", &e))?;
        memory.expose_mut().copy_from_slice(&json);
        self.keep(VARIABLES, &memory).map_err(|e| failed("the anchor", &e))?;
        self.guard.given = Given(Some(memory));
        if self.order_guard(&Order::Given { variables: fresh }).is_err() {
            // The next one begins with them.
            self.cut_guard();
        }
        Ok(())
    }

    /// Overwrites them.
    pub(crate) fn forget_given(&mut self) {
        if let Some(mut memory) = self.guard.given.0.take() {
            memory.overwrite();
            let _ = self.seat.link.remove(VARIABLES);
        }
    }
}
