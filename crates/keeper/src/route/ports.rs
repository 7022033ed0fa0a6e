//! Connections into apps: ports that are published on the host's loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use sessile_model::api::{Publish, Published};
use sessile_model::gateway::Order;
use sessile_model::ids::AppName;
use sessile_model::record::Grant;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::capture;

use crate::bringup::failed;
use crate::keeper::Keeper;

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
        self.route.ports.insert((app.clone(), publish.port), listener);
        self.start_gateway();
        self.order_publish(&app, publish.port)?;
        self.grant(Grant::Port { app, port: publish.port, local: address.port() });
        Ok(Published { address: address.to_string() })
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
