//! Whether a destination is among those who may read a text.

use crate::Readers;
use crate::destination::destination;

impl Readers {
    /// Whether what goes to this destination reaches only those who may read it. A reader is a
    /// destination as it is written, a host (which stands for what is below it too), or `@` and a host
    /// for every address there.
    #[must_use]
    pub fn admit(&self, whither: &str) -> bool {
        let Self::Only(readers) = self else { return true };
        let whither = whither.trim().to_lowercase();
        let host = host(&whither);
        readers.iter().any(|reader| {
            let reader = reader.to_lowercase();
            if reader == whither {
                return true;
            }
            match reader.strip_prefix('@') {
                Some(domain) => address(&whither).is_some_and(|at| at == domain),
                None => host.as_deref().is_some_and(|host| is_below(host, &reader)),
            }
        })
    }
}

fn is_below(host: &str, above: &str) -> bool {
    host == above || host.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'))
}

/// The host of a mail address.
fn address(text: &str) -> Option<&str> {
    let (user, host) = text.split_once('@')?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    (!user.is_empty() && user.chars().all(is_plain) && host.chars().all(is_plain)).then_some(host)
}

/// The host of a URL, or of one without its scheme; none where anything in it misleads.
fn host(text: &str) -> Option<String> {
    let found = match text.split_once("://") {
        Some(("http" | "https", _)) => destination(text),
        Some(_) => None,
        None => destination(&format!("https://{text}")),
    };
    found.filter(|found| found.tricks.is_empty()).map(|found| found.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let readers =
            Readers::Only(["example.org", "@mail.example", "ann@x.example"].map(str::to_owned).into());
        for (destination, expected) in [
            ("https://example.org/a?b", true),
            ("https://API.example.org:8443", true),
            ("api.example.org", true),
            ("notexample.org", false),
            ("https://evil.example#@example.org", false),
            ("https://example.org@evil.example/", false),
            ("https://user:pass@example.org/", false),
            ("https://evil.example\\@example.org", false),
            ("https://evil.example/example.org", false),
            ("https://example.org.evil.example", false),
            ("https://ex\u{430}mple.org", false),
            ("https://[::ffff:192.0.2.1]/", false),
            ("ftp://example.org", false),
            ("bob@mail.example", true),
            ("bob@sub.mail.example", false),
            ("bob@evil.example,@mail.example", false),
            ("Ann@x.example", true),
            ("eve@x.example", false),
            ("", false),
        ] {
            assert_eq!(readers.admit(destination), expected, "{destination}");
        }
        assert!(Readers::Anyone.admit("anybody"));
        assert!(!Readers::Only([].into()).admit("example.org"));
    }
}
