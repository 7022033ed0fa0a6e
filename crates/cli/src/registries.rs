//! Where the caller's package managers fetch from, by their own configuration: a mirror takes the
//! place of the public registry.

use std::fs;
use std::path::Path;

use sessile_model::network::Target;

use crate::hosts::Lists;

/// Puts the hosts that the caller's npm, pip and cargo are configured for in the place of the
/// built-in lists of these names. What a project's folder says does not count: whoever writes there
/// would open hosts to themselves.
pub fn configured(lists: &mut Lists, home: &Path, variable: impl Fn(&str) -> Option<String>) {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let npm = [Path::new("/etc/npmrc").to_owned(), home.join(".npmrc")];
    let npm: String = npm.iter().map(|path| read(path) + "\n").collect();
    let asked = ["npm_config_registry", "NPM_CONFIG_REGISTRY"].into_iter().find_map(&variable);
    let pip = [
        Path::new("/etc/pip.conf").to_owned(),
        home.join(".pip/pip.conf"),
        home.join(".config/pip/pip.conf"),
    ];
    let pip: String = pip.iter().map(|path| read(path) + "\n").collect();
    let indexes = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"].map(|name| variable(name).unwrap_or_default());
    let cargo: toml::Table = read(&home.join(".cargo/config.toml")).parse().unwrap_or_default();
    for (name, found) in [
        ("npm", of_npm(&npm, asked.as_deref())),
        ("pip", of_pip(&pip, &indexes)),
        ("cargo", of_cargo(&cargo)),
    ] {
        let Some(list) = lists.get_mut(name) else { continue };
        if found.replaces {
            list.clear();
        }
        for target in found.targets {
            if !list.contains(&target) {
                list.push(target);
            }
        }
    }
}

/// What a configuration names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    targets: Vec<Target>,
    /// Whether the public registry is not asked any more.
    replaces: bool,
}

impl Found {
    fn add(&mut self, url: &str, replaces: bool) {
        if let Some(target) = target(url) {
            self.replaces |= replaces;
            self.targets.push(target);
        }
    }
}

/// npmrc(5): lines `registry=URL` and `@scope:registry=URL`; later ones count.
fn of_npm(text: &str, asked: Option<&str>) -> Found {
    let mut found = Found::default();
    let mut main = asked;
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        if key == "registry" {
            main = asked.or(Some(value));
        } else if key.starts_with('@') && key.ends_with(":registry") {
            found.add(value, false);
        }
    }
    if let Some(url) = main {
        found.add(url, true);
    }
    found
}

/// pip's configuration: `index-url` and `extra-index-url`, the latter with several URLs, also on
/// lines of their own.
fn of_pip(text: &str, variables: &[String; 2]) -> Found {
    let mut found = Found::default();
    let mut key = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let value = match line.split_once('=') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                key = name.trim().replace('_', "-");
                value
            }
            Some(_) | None => line,
        };
        for url in value.split_whitespace() {
            match key.as_str() {
                "index-url" => found.add(url, true),
                "extra-index-url" => found.add(url, false),
                _ => {}
            }
        }
    }
    let [index, extra] = variables;
    index.split_whitespace().for_each(|url| found.add(url, true));
    extra.split_whitespace().for_each(|url| found.add(url, false));
    found
}

/// cargo's configuration: `[source.crates-io] replace-with`, and the index of each registry.
fn of_cargo(file: &toml::Table) -> Found {
    let mut found = Found::default();
    let text =
        |table: &toml::Table, key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let tables = |name: &str| file.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let sources = tables("source");
    let of = |name: &str| sources.get(name).and_then(toml::Value::as_table);
    if let Some(name) = of("crates-io").and_then(|table| text(table, "replace-with"))
        && let Some(url) = of(&name).and_then(|table| text(table, "registry"))
    {
        found.add(&url, true);
    }
    for registry in tables("registries").values().filter_map(toml::Value::as_table) {
        if let Some(url) = text(registry, "index") {
            found.add(&url, false);
        }
    }
    found
}

/// The host and port of a URL of HTTP, without what else stands in it.
fn target(url: &str) -> Option<Target> {
    let url = url.strip_prefix("sparse+").unwrap_or(url);
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let target: Target = authority.parse().ok()?;
    Some(Target { port: target.port.or(Some(port)), ..target })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &Found) -> String {
        let targets: Vec<String> = found.targets.iter().map(ToString::to_string).collect();
        format!("{} {}", targets.join(" "), found.replaces)
    }

    #[test]
    fn urls_have_hosts() {
        for (url, expected) in [
            ("https://a.example/x", "a.example:443"),
            ("http://a.example:8081/", "a.example:8081"),
            ("https://user:secret@a.example", "a.example:443"),
            ("sparse+https://a.example/index/", "a.example:443"),
        ] {
            assert_eq!(target(url).unwrap().to_string(), expected);
        }
        for bad in ["a.example", "ssh://a.example", "https://", "file:///x"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn npm_is_asked_where_it_asks() {
        let text = "//mirror.example/:_authToken=x\nregistry = https://mirror.example/npm/\n@acme:registry=https://acme.example\n";
        assert_eq!(shown(&of_npm(text, None)), "acme.example:443 mirror.example:443 true");
        assert_eq!(shown(&of_npm(text, Some("http://env.example"))), "acme.example:443 env.example:80 true");
        assert_eq!(of_npm("fund=false\n", None), Found::default());
    }

    #[test]
    fn pip_is_asked_where_it_asks() {
        let text = "[global]\n# index-url = https://no.example\nindex-url = https://pypi.example/simple\nextra-index-url =\n    https://one.example\n    https://two.example/x\n[install]\ntimeout = 3\n";
        let none = [String::new(), String::new()];
        assert_eq!(shown(&of_pip(text, &none)), "pypi.example:443 one.example:443 two.example:443 true");
        let extra = [String::new(), "https://three.example".to_owned()];
        assert_eq!(shown(&of_pip("", &extra)), "three.example:443 false");
    }

    #[test]
    fn cargo_is_asked_where_it_asks() {
        let text = "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://mirror.example/i/\"\n[registries.own]\nindex = \"https://own.example/git\"\n";
        assert_eq!(shown(&of_cargo(&text.parse().unwrap())), "mirror.example:443 own.example:443 true");
        assert_eq!(of_cargo(&toml::Table::new()), Found::default());
    }

    #[test]
    fn a_mirror_takes_the_place_of_the_public_registry() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".npmrc"), "registry=https://mirror.example\n").unwrap();
        let list = |target: &str| vec![target.parse().unwrap()];
        let mut lists = Lists::from([
            ("npm".to_owned(), list("public.example:443")),
            ("pip".to_owned(), list("p.example")),
        ]);
        let set = |name: &str| (name == "PIP_EXTRA_INDEX_URL").then(|| "https://more.example".to_owned());
        configured(&mut lists, home.path(), set);
        let shown: Vec<String> = lists.values().flatten().map(ToString::to_string).collect();
        assert!(
            shown.contains(&"mirror.example:443".to_owned())
                && !shown.contains(&"public.example:443".to_owned())
        );
        assert!(shown.contains(&"p.example".to_owned()) && shown.contains(&"more.example:443".to_owned()));
    }
}
