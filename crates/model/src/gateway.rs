//! Messages between a keeper and its session's gateway.
//!
//! A SEQPACKET socket; every packet is one JSON message of at most [`MAX_PACKET`] bytes, an
//! [`Order`] from the keeper or a [`Report`] from the gateway. A longer order lies in a memory file
//! of at most [`MAX_ORDER`] bytes, which comes along as the only descriptor of a packet
//! [`ENCLOSED`]; such an order has no further descriptors. The keeper's end is kept by the
//! anchor, so the gateway goes on while a keeper is replaced. Receivers ignore messages that they
//! do not know. Version [`VERSION`].

use serde::{Deserialize, Serialize};

use crate::api::{Flow, Verdict};
use crate::credential::{Credential, SecretText};
use crate::ids::AppName;
use crate::network::Network;

/// Version of this protocol; stands in the first order.
pub const VERSION: u32 = 1;
/// The name of every session's certificate authority: the same for all, so that it tells none apart.
pub const AUTHORITY: &str = "sessile session authority";
/// Largest packet.
pub const MAX_PACKET: usize = 64 << 10;
/// A packet whose message lies in the memory file that comes along.
pub const ENCLOSED: &[u8] = b"@";
/// Largest order, in a memory file.
pub const MAX_ORDER: usize = 4 << 20;
/// Numbers of names that are set aside for a gateway before it uses them: from what [`Order::Before`] says
/// on, and again whenever it has used half of them ([`Report::Named`]).
pub const NAMES_AHEAD: u64 = 512;
/// Most flows in one [`Report::Flows`].
pub const FLOWS_PER_PACKET: usize = 64;

/// What a keeper tells its gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Begin with this plan. The first order, and again from a keeper that took over. For the route
    /// tor the first one brings a descriptor along: the folder in which `tor/control` and
    /// `tor/socks` are, or will be, the sockets of the session's tor.
    Begin {
        /// [`VERSION`].
        version: u32,
        /// Route, rules and caps.
        network: Box<Network>,
    },
    /// What was before this gateway, in the same session. Comes behind `Begin`; what the gateway knows
    /// already stays.
    Before {
        /// The highest number that a question had.
        question: u32,
        /// What was answered for the rest of the session, the latest last.
        answers: Vec<Answered>,
        /// Bytes that connections had moved, both ways.
        spent: u64,
        /// Names that come to be known have numbers from this one on: their fake addresses were no others'.
        #[serde(default)]
        names: u64,
    },
    /// Open the TLS of the hosts that the plan names. Comes behind `Begin`, before any app; one that
    /// comes again says the same.
    Intercept {
        /// The key of the session's certificate authority, in PEM.
        key: SecretText,
        /// Headers to set.
        credentials: Vec<Credential>,
    },
    /// Serve an app. Four descriptors come along: its TCP listeners for IPv4 and IPv6, then its
    /// UDP sockets for DNS, in the same order.
    App {
        /// Its name.
        name: AppName,
        /// Nothing is redirected to its listeners: it speaks to them as to a proxy.
        #[serde(default)]
        explicit: bool,
    },
    /// Answer a question.
    Answer {
        /// Its number.
        question: u32,
        /// What was decided.
        verdict: Verdict,
        /// For the rest of the session.
        always: bool,
    },
    /// Send the flows.
    Flows {
        /// Comes back with the answer.
        sequence: u32,
    },
    /// Take on a new identity on the route, and end what goes on under the old one.
    Renew {
        /// Comes back with the answer.
        sequence: u32,
    },
    /// Take connections of this listener, which comes along, for a port of an app, beside those of
    /// other listeners.
    Publish {
        /// The app.
        app: AppName,
        /// Its port.
        port: u16,
    },
    /// Publish a port no longer.
    Withdraw {
        /// The app.
        app: AppName,
        /// Its port.
        port: u16,
    },
    /// The connected socket that a [`Report::Dial`] asked for comes along; without one, there is
    /// none.
    Dialled {
        /// As in the report.
        sequence: u32,
    },
    /// The socket to the session's guard that a [`Report::Unguarded`] asked for comes along; without one, there
    /// is none, and requests are refused.
    Guard {
        /// As in the report.
        sequence: u32,
    },
    /// Overwrite what is known of the session, and end.
    Quit,
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// An answer for the rest of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// A name in lower case, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was decided.
    pub verdict: Verdict,
}

/// What a gateway tells its keeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The route is up.
    Ready,
    /// The route cannot be used, beyond recovery.
    Failed {
        /// Why, in a sentence without secrets.
        cause: String,
    },
    /// Somebody is to be asked. Sent again, with the same number, to a keeper that took over.
    Asked {
        /// The question's number, unique in the session.
        question: u32,
        /// The app that waits.
        app: AppName,
        /// The host it asked for: a name, or an address where it used none.
        host: String,
        /// The port.
        port: u16,
    },
    /// A question is over.
    Settled {
        /// Its number.
        question: u32,
        /// How.
        verdict: Verdict,
        /// Nobody answered in time.
        timed_out: bool,
        /// Nobody waited for it any more.
        #[serde(default)]
        withdrawn: bool,
    },
    /// A connection was refused; told once per app, host, port and rule.
    Refused {
        /// The app.
        app: AppName,
        /// The host it asked for.
        host: String,
        /// The port.
        port: u16,
        /// What decided.
        by: String,
    },
    /// Bytes that connections have moved in the session, both ways, where they are capped. Told now
    /// and then, and before flows.
    Spent {
        /// Both ways.
        bytes: u64,
    },
    /// Names may have numbers below this one, as they are about to; a gateway that comes after begins there.
    Named {
        /// [`NAMES_AHEAD`] more than are used.
        below: u64,
    },
    /// Flows, answering [`Order::Flows`].
    Flows {
        /// As in the order.
        sequence: u32,
        /// Some of them.
        flows: Vec<Flow>,
        /// Whether these are the last.
        last: bool,
    },
    /// The route has a new identity, answering [`Order::Renew`].
    Renewed {
        /// As in the order.
        sequence: u32,
        /// What went wrong, if something did.
        problem: Option<String>,
    },
    /// A request is to pass the session's guard, and there is no socket to one: answer with [`Order::Guard`].
    Unguarded {
        /// Comes back with the answer.
        sequence: u32,
        /// The guard before said nothing in time, or what nobody understands.
        failed: bool,
    },
    /// A connection into an app is wanted: answer with [`Order::Dialled`].
    Dial {
        /// Comes back with the answer.
        sequence: u32,
        /// The app.
        app: AppName,
        /// Its port.
        port: u16,
    },
    /// From a later version.
    #[serde(other)]
    Unknown,
}
