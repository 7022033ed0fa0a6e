//! Connections into apps: ports that are published on the host's loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sessile_model::api::{Publish, Published};
use sessile_model::gateway::Order;
use sessile_model::ids::AppName;
use sessile_model::record::Grant;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::capture;

use crate::bringup::failed;
use crate::keeper::Keeper;

/// Begins the names of listeners with the anchor.
const KEPT: &str = "port/";

/// The name under which the anchor keeps the listener of a port of the host.
fn kept(local: u16) -> String {
    format!("{KEPT}{local}")
}

impl Keeper {
    /// Publishes an app's port on the host's loopback.
    pub(crate) fn publish_port(&mut self, publish: &Publish) -> Result<Published, Problem> {
        let app = publish.app.clone().unwrap_or_else(AppName::main);
        if self.network() == capture::Network::Closed {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "this session has no gateway: its route is none",
            )
            .hint("open it with --route direct"));
        }
        if self.apps.get(&app).is_none_or(|app| app.gone) {
            return Err(Problem::new(ProblemKind::NotFound, format!("there is no app {app}")));
        }
        let local = publish.local.unwrap_or(publish.port);
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, local))).map_err(|e| {
            Problem::new(ProblemKind::Conflict, format!("port {local} of this host cannot be used: {e}"))
                .hint("choose another one: PORT:LOCAL, or PORT:0 for any that is free")
        })?;
        let address = listener.local_addr().map_err(|e| failed("the port", &e))?;
        let local = address.port();
        // For a keeper that takes over.
        self.keep_all(&[(kept(local).as_str(), listener.as_fd())])?;
        self.route.ports.insert((app.clone(), publish.port, local), listener);
        self.start_gateway();
        self.order_publish(&app, publish.port, local)?;
        self.grant(Grant::Port { app, port: publish.port, local });
        Ok(Published { address: address.to_string() })
    }

    /// Takes over the listeners of ports that were published, which the anchor kept.
    pub(crate) fn adopt_ports(&mut self, store: &mut BTreeMap<String, OwnedFd>) {
        for grant in self.facts.iter().flat_map(|facts| &facts.grants) {
            let Grant::Port { app, port, local } = grant else { continue };
            if let Some(listener) = store.remove(&kept(*local)) {
                self.route.ports.insert((app.clone(), *port, *local), TcpListener::from(listener));
            }
        }
        // Others were not granted yet: who asked for one asks again.
        for name in store.keys().filter(|name| name.starts_with(KEPT)) {
            let _ = self.seat.link.remove(name);
        }
    }

    /// Publishes nothing any more.
    pub(super) fn close_ports(&mut self) {
        for (_, _, local) in std::mem::take(&mut self.route.ports).into_keys() {
            let _ = self.seat.link.remove(&kept(local));
        }
    }

    pub(super) fn dial(&mut self, sequence: u32, app: &AppName, port: u16) {
        let netns = self.apps.get(app).filter(|app| !app.gone).and_then(|app| app.netns.as_ref());
        let dialled = match (&self.space, netns) {
            (Some(space), Some(netns)) => {
                capture::dial(space, netns.as_fd(), SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()
            }
            (None, _) | (_, None) => None,
        };
        let fds: Vec<BorrowedFd<'_>> = dialled.iter().map(AsFd::as_fd).collect();
        if self.order(&Order::Dialled { sequence }, &fds).is_err() {
            self.gateway_died();
        }
    }
}
