//! What holds for any cookies and any input.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sessile_jar::{
    Context, Cookie, Filter, Format, Host, Jar, Kept, Limits, Nameless, Partition, RequestUrl, SameSite,
    Site, parse_date,
};
use sessile_model::{Millis, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LIMITS: Limits = Limits { per_domain: 5, total: 12 };

const SCHEMES: [&str; 3] = ["https", "http", "wss"];
const HOSTS: [&str; 12] = [
    "example.org",
    "www.example.org",
    "a.www.example.org",
    "badexample.org",
    "example.co.uk",
    "me.github.io",
    "github.io",
    "localhost",
    "127.0.0.1",
    "1.127.0.0.1.example.org",
    "[::1]",
    "example.org.",
];
const PATHS: [&str; 7] = ["", "/", "/a", "/a/", "/a/b", "/ab", "/b/c/d?e/f"];

/// Mostly of one domain over a secure connection, so that cookies meet.
fn url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![3 => Just("https"), 1 => prop::sample::select(&SCHEMES[..])];
    let host = prop_oneof![3 => prop::sample::select(&HOSTS[..3]), 2 => prop::sample::select(&HOSTS[..])];
    (scheme, host, prop::sample::select(&PATHS[..]))
        .prop_map(|(scheme, host, path)| format!("{scheme}://{host}{path}"))
}

fn context() -> impl Strategy<Value = Context> {
    let rarely = || prop::bool::weighted(0.2);
    let partition = prop::option::weighted(
        0.3,
        (prop::sample::select(vec!["https://news.example", "https://blog.example"]), any::<bool>()),
    );
    let request = (url(), rarely(), rarely(), any::<bool>(), rarely(), partition);
    request.prop_map(|(url, cross, unsafely, top, script, partition)| {
        let mut context = Context::new(RequestUrl::parse(&url).unwrap());
        if cross {
            context = context.cross_site();
        }
        if unsafely {
            context = context.method("POST");
        }
        if top {
            context = context.top_level_navigation();
        }
        if script {
            context = context.script();
        }
        if let Some((site, cross_site_ancestor)) = partition {
            context =
                context.partition(Partition { top_level: Site::of(site).unwrap(), cross_site_ancestor });
        }
        context
    })
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let name = "(__Host-|__secure-)?[a-d]?";
    let attribute = prop::sample::select(vec![
        "Secure",
        "HttpOnly",
        "Partitioned; Secure",
        "SameSite=None; Secure",
        "SameSite=Strict",
        "SameSite=Lax",
        "Domain=example.org",
        "Domain=.www.example.org",
        "Domain=org",
        "Domain=github.io",
        "Domain=127.0.0.1",
        "Domain=0.0.1",
        "Domain=[::1]",
        "Domain=",
        "Path=/",
        "Path=/a",
        "Path=/a/",
        "Path=",
        "Max-Age=0",
        "Max-Age=60",
        "Max-Age=99999999999",
        "Expires=Wed, 15 Nov 2023 00:00:00 GMT",
    ]);
    let made = (name, "[ -:<-~\t]{0,8}", prop::collection::vec(attribute, 0..4))
        .prop_map(|(name, value, attributes)| format!("{name}={value}; {}", attributes.join("; ")));
    let made = prop_oneof![
        1 => made,
        1 => "[a-d]=[0-9]; Domain=example[.]org(; Secure)?; Path=/a?/?",
    ]
    .prop_map(Vec::from);
    prop_oneof![9 => made, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

/// Headers from requests, in seconds from [`NOW`].
fn visits() -> impl Strategy<Value = Vec<(Vec<u8>, Context, u64)>> {
    prop::collection::vec((header(), context(), 0..100_u64), 0..40)
}

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Millis(seconds * 1_000))
}

fn filled(visits: &[(Vec<u8>, Context, u64)]) -> Jar {
    let mut jar = Jar::with(LIMITS, Nameless::Keep);
    for (header, context, second) in visits {
        let _outcome = jar.store(header, context, after(*second));
    }
    jar
}

fn all(jar: &Jar) -> Vec<Kept> {
    jar.list(&Filter::all()).cloned().collect()
}

fn everywhere() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let places = SCHEMES[..2].iter().flat_map(|scheme| HOSTS.iter().map(move |host| (*scheme, *host)));
    places.flat_map(|(scheme, host)| PATHS.iter().map(move |path| (scheme, host, *path)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Domain, path, connection, script and partition of what is sent, told without the jar's own
    /// functions.
    #[test]
    fn a_cookie_goes_nowhere_else(visits in visits(), context in context(), second in 0..200_u64) {
        let jar = filled(&visits);
        let now = after(second);
        for (scheme, host, path) in everywhere() {
            let url = RequestUrl::parse(&format!("{scheme}://{host}{path}")).unwrap();
            let there = Context::new(url);
            let path = there.url().path();
            let named = !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err();
            for kept in jar.matching(&there, now) {
                let below = format!(".{}", kept.domain);
                let domain = host == kept.domain.as_str() || !kept.host_only && named && host.ends_with(&below);
                prop_assert!(domain, "{} {:?}", host, kept);
                let rest = path.strip_prefix(&kept.path);
                let above = rest == Some("") || kept.path.ends_with('/') || rest.is_some_and(|r| r.starts_with('/'));
                prop_assert!(rest.is_some() && above, "{} {:?}", path, kept);
                prop_assert!(!kept.secure || scheme != "http");
                prop_assert!(kept.expires.is_none_or(|end| end > now));
                prop_assert!(kept.partition.as_ref().is_none_or(|p| p.top_level == there.url().site()));
                let own = !kept.name.to_ascii_lowercase().starts_with(b"__host-") || host == kept.domain.as_str();
                prop_assert!(own, "{} {:?}", host, kept);
            }
        }
        // What only the context knows, by comparing two requests.
        let sent = |context: &Context| jar.matching(context, now).len();
        prop_assert!(sent(&context.clone().cross_site()) <= sent(&context));
        prop_assert!(jar.matching(&context.clone().script(), now).iter().all(|kept| !kept.http_only));
        let strict = |kept: &&Kept| kept.same_site == SameSite::Strict;
        prop_assert_eq!(jar.matching(&context.cross_site(), now).into_iter().filter(strict).count(), 0);
    }

    #[test]
    fn the_longest_path_comes_first_then_the_oldest(visits in visits()) {
        let jar = filled(&visits);
        let deep = Context::new(RequestUrl::parse("https://a.www.example.org/a/b").unwrap());
        let sent = jar.matching(&deep, NOW);
        for pair in sent.windows(2) {
            let longer = pair[0].path.len() > pair[1].path.len();
            let older = pair[0].path.len() == pair[1].path.len() && pair[0].created() <= pair[1].created();
            prop_assert!(longer || older);
        }
    }

    #[test]
    fn the_header_says_names_and_values(visits in visits(), context in context()) {
        let mut jar = filled(&visits);
        let expected: Vec<Vec<u8>> = jar
            .matching(&context, NOW)
            .iter()
            .map(|kept| match kept.name.as_slice() {
                b"" => kept.value.expose().to_vec(),
                name => [name, b"=", kept.value.expose()].concat(),
            })
            .collect();
        let header = jar.header(&context, NOW);
        prop_assert_eq!(header.is_none(), expected.is_empty());
        let header = header.map(|header| header.to_vec()).unwrap_or_default();
        prop_assert_eq!(&header, &expected.join(&b"; "[..]));
        // What was sent is what was set: a value comes back through the header as it was. Only a
        // nameless cookie with = in its value reads like another, as the RFC has it.
        let nameless: Vec<Vec<u8>> = jar
            .list(&Filter::all().named(""))
            .map(|kept| kept.value.expose().to_vec())
            .filter(|value| value.contains(&b'='))
            .collect();
        for pair in expected.into_iter().filter(|pair| !nameless.contains(pair)) {
            let mut other = Jar::new();
            let url = Context::new(RequestUrl::parse("https://example.org").unwrap());
            if other.store(&[&pair[..], b"; Secure; Path=/"].concat(), &url, NOW).is_ok() {
                prop_assert_eq!(other.header(&url, NOW).unwrap().to_vec(), pair);
            }
        }
    }

    #[test]
    fn limits_hold_and_cookies_are_single(visits in visits()) {
        let mut jar = Jar::with(LIMITS, Nameless::Keep);
        for (header, context, second) in &visits {
            let before = all(&jar);
            let outcome = jar.store(header, context, after(*second));
            let kept = all(&jar);
            prop_assert!(kept.len() <= LIMITS.total);
            prop_assert!(outcome.is_ok() || kept == before, "what is ignored changes nothing");
            for (index, one) in kept.iter().enumerate() {
                let share = kept.iter().filter(|k| k.domain == one.domain && k.partition == one.partition);
                prop_assert!(share.count() <= LIMITS.per_domain);
                let key = |k: &Kept| {
                    (k.name.clone(), k.domain.clone(), k.host_only, k.path.clone(), k.partition.clone())
                };
                prop_assert!(kept[index + 1..].iter().all(|other| key(other) != key(one)));
                prop_assert!(one.expires.is_none_or(|end| end <= after(100).plus(sessile_jar::LONGEST_LIFE)));
            }
        }
    }

    #[test]
    fn an_import_has_what_the_format_holds(visits in visits(), netscape in any::<bool>()) {
        let jar = filled(&visits);
        let format = if netscape { Format::Netscape } else { Format::StorageState };
        let exported = jar.export(format, NOW);
        let mut back = Jar::new();
        let imported = back.import(format, &exported.text, NOW).unwrap();
        prop_assert!(imported.refused.is_empty(), "{:?}", imported.refused);
        prop_assert_eq!((imported.added, imported.expired), (exported.cookies, 0));
        let left_out = exported.lost.iter().filter(|(_, _, lost)| lost.is_left_out()).count();
        let expected = all(&jar);
        prop_assert_eq!(back.len() + left_out, expected.len());
        for kept in all(&back) {
            let same = |old: &&Kept| {
                let mut old: Cookie = (***old).clone();
                if netscape {
                    old.same_site = SameSite::Default;
                    old.expires = old.expires.map(|end| Timestamp::from_millis(end.as_millis() / 1_000 * 1_000));
                } else if old.same_site == SameSite::Default {
                    old.same_site = SameSite::Lax;
                }
                old.expires = old.expires.map(|end| end.min(NOW.plus(sessile_jar::LONGEST_LIFE)));
                old == *kept
            };
            prop_assert!(expected.iter().any(|old| same(&old)), "{:?}", kept);
        }
    }

    #[test]
    fn a_saved_jar_is_the_same(visits in visits()) {
        let jar = filled(&visits);
        let text = serde_json::to_string(&jar).unwrap();
        let back: Jar = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(all(&back), all(&jar));
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,80}") {
        let _date = parse_date(&octets);
        let _host = Host::parse(&text);
        let url = RequestUrl::parse(&text).or_else(|_| RequestUrl::parse(&format!("https://example.org/{text}")));
        let context = Context::new(url.unwrap());
        let mut jar = Jar::new();
        for now in [NOW, Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX)] {
            let _outcome = jar.store(&octets, &context, now);
            let _outcome = jar.store(format!("a={text}").as_bytes(), &context, now);
            let _header = jar.header(&context, now);
            let _imported = jar.import(Format::Netscape, &octets, now);
            let line = [b"example.org\tTRUE\t/\tFALSE\t", &octets[..]].concat();
            let _imported = jar.import(Format::Netscape, &line, now);
            let _imported = jar.import(Format::StorageState, &octets, now);
            let _text = (jar.export(Format::Netscape, now), jar.export(Format::StorageState, now));
            let saved = serde_json::to_string(&jar).unwrap();
            prop_assert!(serde_json::from_str::<Jar>(&saved).is_ok());
        }
        let _jar = serde_json::from_slice::<Jar>(&octets);
    }

    /// Bytes shaped like a date's tokens, and a date that is known.
    #[test]
    fn a_date_that_is_written_is_read(seconds in -11_644_473_600_i64..253_402_300_800, noise in "[ ,/-]{1,3}") {
        let time = Timestamp::from_millis(seconds * 1_000);
        let text = time.to_string();
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months[text[5..7].parse::<usize>().unwrap() - 1];
        let date = [&text[8..10], month, &text[..4], &text[11..19], "GMT"].join(&noise);
        prop_assert_eq!(parse_date(date.as_bytes()), Some(time));
    }
}
