//! Who a session is to the proxy that it goes by.

use sessile_model::network::{Credentials, InvalidNetwork, Route};
use sessile_model::problem::ProblemKind;
use zeroize::Zeroizing;

use crate::config::RunDefaults;
use crate::failure::Failure;
use crate::options::SessionOptions;
use crate::request::Place;
use crate::{environment, tools};

/// By the option, the environment, or the configuration.
///
/// # Errors
/// When they cannot be read, or the route is not by a proxy.
pub fn credentials(
    options: &SessionOptions,
    defaults: &RunDefaults,
    route: &Route,
    (place, notices): (&Place, &mut Vec<String>),
) -> Result<Option<Credentials>, Failure> {
    const VARIABLE: &str = "SESSILE_ROUTE_CREDENTIALS";
    if !matches!(route, Route::Socks5 { .. }) {
        return match &options.route_credentials {
            None => Ok(None),
            Some(_) => Err(bad(format!("--route-credentials is for a proxy, and the route is {route}"))
                .hint("--route socks5://HOST:PORT names one")),
        };
    }
    let wrong = |name: &str, error| bad(format!("{name} holds {error}"));
    let given = match (&options.route_credentials, std::env::var(VARIABLE)) {
        (None, Ok(text)) => {
            let text = Zeroizing::new(text);
            return text.trim_end().parse().map(Some).map_err(|e: InvalidNetwork| wrong(VARIABLE, e));
        }
        (Some(file), _) => Some(file),
        (None, Err(_)) => defaults.route_credentials.as_ref(),
    };
    let Some(file) = given else { return Ok(None) };
    let path = place.folder.join(tools::expanded(&file.to_string_lossy(), &place.home));
    let (text, warning) = environment::read_secret(&path)?;
    notices.extend(warning.map(|w| format!("warning: {w}")));
    let name = path.display().to_string();
    text.trim_end().parse().map(Some).map_err(|e: InvalidNetwork| wrong(&name, e))
}

fn bad(detail: impl Into<String>) -> Failure {
    Failure::new(ProblemKind::BadRequest, detail)
}
