//! `port`: publishes an app's port on this host's loopback.

use std::str::FromStr;

use sessile_model::api::{Publish, Published};
use sessile_model::ids::AppName;

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json};
use crate::selector::SessionSelector;

/// Open an app's port on this host's loopback
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile port amber 3000                  http://127.0.0.1:3000 is the app's port 3000
  sessile port amber 3000:8080             on port 8080 of this host
  sessile port amber 3000:0                on any free port, which is printed

It stays open as long as the session. Only this host reaches it, with every user of it.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app's port, and the one here where it is another
    #[arg(value_name = "PORT[:LOCAL]")]
    port: Ports,
    /// The app [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    inside: u16,
    local: Option<u16>,
}

impl FromStr for Ports {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bad = "not a port (examples: 3000, 3000:8080, 3000:0)";
        let (inside, local) = match text.split_once(':') {
            Some((inside, local)) => (inside, Some(local.parse().map_err(|_| bad)?)),
            None => (text, None),
        };
        let inside = inside.parse().ok().filter(|&p| p != 0).ok_or(bad)?;
        Ok(Self { inside, local })
    }
}

impl Args {
    /// Publishes it and prints the address.
    pub fn run(self, json: bool) -> Outcome {
        let Ports { inside, local } = self.port;
        let publish = Publish { app: self.app, port: inside, local };
        let published: Published = Daemon::reach()?.post(&self.session.path("/ports"), &publish)?;
        if json {
            print_json(&published)?;
        } else {
            print(&format!("{}\n", published.address))?;
        }
        Ok(Status::OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!("3000".parse(), Ok(Ports { inside: 3000, local: None }));
        assert_eq!("3000:0".parse(), Ok(Ports { inside: 3000, local: Some(0) }));
        for bad in ["", "0", "x", "1:", "1:x", "70000", "1:2:3"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }
}
