//! Which cookies are taken, and which request carries them (RFC 6265bis, sections 5.4 to 5.8).

#![allow(clippy::unwrap_used)]

use sessile_jar::{
    Context, Cookie, Filter, Host, Ignored, Jar, LONGEST_LIFE, Limits, Nameless, Partition, RequestUrl, Site,
    Stored,
};
use sessile_model::{Millis, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(url: &str) -> Context {
    Context::new(RequestUrl::parse(url).unwrap())
}

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Millis(seconds * 1_000))
}

/// What storing a header from a page of `https://www.example.org/a/b` gives.
fn store(header: &str) -> Result<Stored, Ignored> {
    Jar::new().store(header.as_bytes(), &at("https://www.example.org/a/b"), NOW)
}

fn sent(jar: &mut Jar, context: &Context, now: Timestamp) -> String {
    jar.header(context, now).map(|header| String::from_utf8(header.to_vec()).unwrap()).unwrap_or_default()
}

/// A jar with these headers, each from its URL.
fn jar(headers: &[(&str, &str)]) -> Jar {
    let mut jar = Jar::new();
    for (url, header) in headers {
        jar.store(header.as_bytes(), &at(url), NOW).unwrap();
    }
    jar
}

#[track_caller]
fn ignored(header: &str, why: Ignored) {
    assert_eq!(store(header), Err(why), "{header}");
}

#[track_caller]
fn added(header: &str) {
    assert_eq!(store(header), Ok(Stored::Added { evicted: 0 }), "{header}");
}

#[test]
fn prefixes_promise_in_any_case() {
    for name in ["__Secure-a", "__SECURE-a", "__secure-"] {
        ignored(&format!("{name}=b"), Ignored::Prefix);
        added(&format!("{name}=b; Secure; Domain=example.org; Path=/x"));
    }
    for name in ["__Host-a", "__HOST-a", "__host-"] {
        for rest in [
            "",
            "; Secure",
            "; Path=/",
            "; Secure; Path=/a",
            "; Secure; Path=/; Domain=www.example.org",
            "; Secure; Path=/; Domain=example.org",
        ] {
            ignored(&format!("{name}=b{rest}"), Ignored::Prefix);
        }
        added(&format!("{name}=b; Secure; Path=/"));
        added(&format!("{name}=b; Secure; Path=/; Domain="));
    }
    // Without the attribute the path may not be /, also where the default path is.
    let root = at("https://www.example.org/");
    assert_eq!(Jar::new().store(b"__Host-a=b; Secure", &root, NOW), Err(Ignored::Prefix));
    added("__Hosta=b");
    added(" _Host-a=b");
}

#[test]
fn nameless_cookies_do_not_pass_for_prefixed_ones() {
    for value in ["__Host-a=b", "__secure-a=b", "__HOST-a"] {
        ignored(&format!("={value}; Secure; Path=/"), Ignored::Prefix);
    }
    ignored("__Host-a; Secure; Path=/", Ignored::Prefix);
    added("=a__Host-b");
    ignored("=", Ignored::Empty);
    ignored("; Secure", Ignored::Empty);
    ignored("", Ignored::Empty);
    let mut jar =
        jar(&[("https://example.org", "=v"), ("https://example.org", "n="), ("https://example.org", "w")]);
    assert_eq!(sent(&mut jar, &at("https://example.org"), NOW), "w; n=");
    let mut strict = Jar::with(Limits::default(), Nameless::Refuse);
    assert_eq!(strict.store(b"v", &at("https://example.org"), NOW), Err(Ignored::Nameless));
}

#[test]
fn a_domain_must_hold_the_host_and_be_nobodys() {
    added("a=b; Domain=example.org");
    added("a=b; Domain=.WWW.Example.ORG");
    for domain in
        ["other.org", "x.www.example.org", "example.org.", "..example.org", "ww.example.org", "xample.org"]
    {
        ignored(&format!("a=b; Domain={domain}"), Ignored::ForeignDomain);
    }
    ignored("a=b; Domain=org", Ignored::PublicSuffix);
    ignored("a=b; Domain=.org.", Ignored::PublicSuffix);
    ignored("a=b; Domain=éxample.org", Ignored::DomainNotAscii);
    // Too long to be looked at: as if it were not there.
    added(&format!("a=b; Domain={}", "x".repeat(1_025)));
    ignored(&format!("a=b; Domain={}", "x".repeat(1_024)), Ignored::PublicSuffix);

    let mut jar = jar(&[
        ("https://github.io", "own=1; Domain=github.io"),
        ("https://élève.example.org", "idn=1; Domain=xn--lve-6lad.example.org"),
        ("http://127.0.0.1", "address=1; Domain=127.0.0.1"),
        ("http://[::1]", "six=1"),
        ("http://example.net.", "dot=1; Domain=example.net."),
    ]);
    for (url, header) in [
        ("https://github.io", "own=1"),
        ("https://me.github.io", ""),
        ("https://a.xn--lve-6lad.example.org", "idn=1"),
        ("http://127.0.0.1:81", "address=1"),
        ("http://[0::1]:81", "six=1"),
        ("http://www.example.net.", "dot=1"),
        ("http://www.example.net", ""),
    ] {
        assert_eq!(sent(&mut jar, &at(url), NOW), header, "{url}");
    }
    let address = at("http://10.0.0.1");
    assert_eq!(Jar::new().store(b"a=b; Domain=0.0.1", &address, NOW), Err(Ignored::ForeignDomain));
    assert_eq!(Jar::new().store(b"a=b; Domain=1", &address, NOW), Err(Ignored::ForeignDomain));
}

#[test]
fn secure_cookies_need_a_secure_connection_and_are_left_alone() {
    let plain = at("http://www.example.org/login/en");
    assert_eq!(Jar::new().store(b"a=b; Secure", &plain, NOW), Err(Ignored::SecureFromInsecure));
    let secure = ("https://www.example.org", "a=secret; Secure; Path=/login");
    for header in ["a=x; Path=/login", "a=x; Path=/login/en", "a=x", "a=x; Domain=example.org; Path=/login/"]
    {
        let mut jar = jar(&[secure]);
        assert_eq!(jar.store(header.as_bytes(), &plain, NOW), Err(Ignored::HidesSecure), "{header}");
        assert_eq!(sent(&mut jar, &plain, NOW), "");
        assert_eq!(sent(&mut jar, &at("wss://www.example.org/login"), NOW), "a=secret");
    }
    for header in ["a=x; Path=/", "a=x; Path=/loginx", "b=x; Path=/login", "A=x"] {
        assert!(jar(&[secure]).store(header.as_bytes(), &plain, NOW).is_ok(), "{header}");
    }
    let sibling = at("http://sibling.example.org/login");
    assert!(jar(&[secure]).store(b"a=x; Path=/login", &sibling, NOW).is_ok());
    assert!(jar(&[secure]).store(b"a=x; Path=/login", &at(secure.0), NOW).is_ok());
}

#[test]
fn scripts_neither_see_nor_touch_http_only() {
    let url = "https://example.org";
    let script = at(url).script();
    let mut jar = jar(&[(url, "a=1; HttpOnly"), (url, "b=2")]);
    assert_eq!(sent(&mut jar, &script, NOW), "b=2");
    assert_eq!(jar.store(b"c=3; HttpOnly", &script, NOW), Err(Ignored::HttpOnlyFromScript));
    for header in ["a=x", "a=; Max-Age=0"] {
        assert_eq!(jar.store(header.as_bytes(), &script, NOW), Err(Ignored::ReplacesHttpOnly));
    }
    assert_eq!(sent(&mut jar, &at(url), NOW), "a=1; b=2");
}

#[test]
fn same_site_says_which_requests_of_others_carry_it() {
    let url = "https://example.org";
    let mut jar = jar(&[
        (url, "strict=1; SameSite=Strict"),
        (url, "lax=1; SameSite=Lax"),
        (url, "default=1"),
        (url, "unknown=1; SameSite=Strict; SameSite=Maybe"),
        (url, "none=1; SameSite=None; Secure"),
    ]);
    let all = "strict=1; lax=1; default=1; unknown=1; none=1";
    let lax = "lax=1; default=1; unknown=1; none=1";
    let other = || at(url).cross_site();
    for (context, header) in [
        (at(url), all),
        (at(url).method("POST"), all),
        (other(), "none=1"),
        (other().method("POST"), "none=1"),
        (other().top_level_navigation(), lax),
        (other().top_level_navigation().method("HEAD"), lax),
        (other().top_level_navigation().method("POST"), "none=1"),
        (other().top_level_navigation().method("get"), "none=1"),
        (other().script(), "none=1"),
        (other().top_level_navigation().script(), "none=1"),
    ] {
        assert_eq!(sent(&mut jar, &context, NOW), header, "{context:?}");
    }
}

#[test]
fn same_site_says_which_responses_to_others_set_it() {
    let other = at("https://example.org").cross_site();
    for attribute in ["; SameSite=Strict", "; SameSite=Lax", "", "; SameSite=Maybe"] {
        let header = format!("a=b{attribute}");
        let store = |context: &Context| Jar::new().store(header.as_bytes(), context, NOW);
        assert_eq!(store(&other), Err(Ignored::CrossSite), "{header}");
        assert_eq!(store(&other.clone().script()), Err(Ignored::CrossSite), "{header}");
        let navigation = other.clone().top_level_navigation().method("POST");
        assert!(store(&navigation).is_ok(), "{header}");
        assert_eq!(store(&navigation.script()), Err(Ignored::CrossSite), "{header}");
    }
    assert!(Jar::new().store(b"a=b; SameSite=None; Secure", &other, NOW).is_ok());
    ignored("a=b; SameSite=None", Ignored::NoneNotSecure);
}

#[test]
fn partitions_do_not_see_each_other() {
    let url = "https://shop.example.org";
    let under = |site: &str, cross_site_ancestor| {
        at(url).cross_site().partition(Partition { top_level: Site::of(site).unwrap(), cross_site_ancestor })
    };
    let (news, blog) = (under("https://www.news.example", true), under("https://blog.example", true));
    let mut jar = jar(&[(url, "c=own; Partitioned; Secure; SameSite=None")]);
    for (context, value) in [(&news, "news"), (&blog, "blog")] {
        let header = format!("c={value}; Partitioned; Secure; SameSite=None");
        assert!(jar.store(header.as_bytes(), context, NOW).is_ok());
    }
    jar.store(b"all=1; Secure; SameSite=None", &news, NOW).unwrap();
    assert_eq!(sent(&mut jar, &under("https://m.news.example:444/x", true), NOW), "c=news; all=1");
    assert_eq!(sent(&mut jar, &blog, NOW), "c=blog; all=1");
    assert_eq!(sent(&mut jar, &at(url), NOW), "c=own; all=1");
    assert_eq!(sent(&mut jar, &under("https://news.example", false), NOW), "all=1");
    assert_eq!(sent(&mut jar, &under("http://news.example", true), NOW), "all=1");
    ignored("a=b; Partitioned", Ignored::PartitionedNotSecure);
}

#[test]
fn cookies_end() {
    let url = at("https://example.org");
    let mut jar = Jar::new();
    let mut store = |header: &str| jar.store(header.as_bytes(), &url, NOW).unwrap();
    assert_eq!(store("a=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), Stored::Added { evicted: 0 });
    assert_eq!(store("b=1; Expires=Tue, 14 Nov 2023 22:13:40 GMT"), Stored::Added { evicted: 0 });
    assert_eq!(store("c=1"), Stored::Added { evicted: 0 });
    assert_eq!(store("d=1; Max-Age=99999999999999999999"), Stored::Added { evicted: 0 });
    assert_eq!(store("e=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT"), Stored::Added { evicted: 0 });
    assert_eq!(store("f=1; Max-Age=0"), Stored::Removed);
    assert_eq!(sent(&mut jar, &url, after(9)), "a=1; b=1; c=1; d=1; e=1");
    assert_eq!(sent(&mut jar, &url, after(10)), "b=1; c=1; d=1; e=1");
    assert_eq!(sent(&mut jar, &url, after(20)), "c=1; d=1; e=1");
    assert_eq!(jar.sweep(after(20)), 2);
    assert!(
        jar.list(&Filter::all()).all(|kept| kept.expires.is_none_or(|end| end == NOW.plus(LONGEST_LIFE)))
    );
    assert_eq!(sent(&mut jar, &url, NOW.plus(LONGEST_LIFE)), "c=1");
    assert_eq!(jar.store(b"d=; Max-Age=-1", &url, NOW), Ok(Stored::Removed));
    assert_eq!((jar.end_session(), jar.len()), (1, 1));
}

#[test]
fn a_replacement_keeps_its_place() {
    let url = "https://example.org";
    let mut jar = jar(&[(url, "a=1"), (url, "b=1")]);
    assert_eq!(jar.store(b"a=2", &at(url), after(1)), Ok(Stored::Replaced));
    assert_eq!(sent(&mut jar, &at(url), after(1)), "a=2; b=1");
    // A host's cookie and a domain's are two, also for the same name.
    assert_eq!(jar.store(b"a=3; Domain=example.org", &at(url), NOW), Ok(Stored::Added { evicted: 0 }));
    assert_eq!(sent(&mut jar, &at(url), NOW), "a=2; b=1; a=3");
}

#[test]
fn the_default_path_is_the_requests_directory() {
    let mut jar =
        jar(&[("https://example.org/a/b?c=/d", "p=1"), ("https://example.org/a;x=1/b", "q=1; Path=no")]);
    for (path, header) in [("/a", "p=1"), ("/a/x", "p=1"), ("/ab", ""), ("/", ""), ("/a;x=1", "q=1")] {
        assert_eq!(sent(&mut jar, &at(&format!("https://example.org{path}")), NOW), header, "{path}");
    }
}

#[test]
fn a_full_domain_loses_what_was_not_used_first_what_is_not_secure() {
    let limits = Limits { per_domain: 3, total: 100 };
    let url = at("https://example.org");
    let fill = |headers: &[&str]| {
        let mut jar = Jar::with(limits, Nameless::Keep);
        for (second, header) in (0..).zip(headers) {
            jar.store(header.as_bytes(), &url, after(second)).unwrap();
        }
        jar
    };
    let mut jar = fill(&["a=1; Secure", "b=1; Path=/x", "c=1"]);
    assert_eq!(jar.store(b"d=1; Secure", &url, after(9)), Ok(Stored::Added { evicted: 1 }));
    assert_eq!(names(&jar), "acd");
    assert_eq!(jar.store(b"e=1; Secure", &url, after(9)), Ok(Stored::Added { evicted: 1 }));
    assert_eq!(names(&jar), "ade");
    // All are secure now: one that is not would be the first to go.
    assert_eq!(jar.store(b"f=1", &url, after(9)), Err(Ignored::NoRoom));
    assert_eq!(jar.store(b"g=1; Secure", &url, after(9)), Ok(Stored::Added { evicted: 1 }));
    assert_eq!(names(&jar), "deg");
    // Another domain, and another partition, is not full.
    assert_eq!(jar.store(b"h=1", &at("https://www.example.org"), NOW), Ok(Stored::Added { evicted: 0 }));
    assert_eq!(jar.store(b"i=1; Secure; Partitioned", &url, NOW), Ok(Stored::Added { evicted: 0 }));

    let mut jar = fill(&["a=1; Path=/x", "b=1", "c=1; Secure; Max-Age=5"]);
    assert_eq!(
        jar.store(b"d=1", &url, after(9)),
        Ok(Stored::Added { evicted: 1 }),
        "the expired one goes first"
    );
    assert_eq!(names(&jar), "abd");
    sent(&mut jar, &url, after(10));
    assert_eq!(jar.store(b"e=1", &url, after(11)), Ok(Stored::Added { evicted: 1 }));
    assert_eq!(names(&jar), "bde", "one that was sent is younger");
}

#[test]
fn a_full_jar_loses_what_was_not_used_for_longest() {
    let mut jar = Jar::with(Limits { per_domain: 2, total: 3 }, Nameless::Keep);
    for (second, name) in (0..).zip(["a", "b", "c"]) {
        let url = at(&format!("https://{name}.example.org"));
        jar.store(format!("{name}=1; Secure").as_bytes(), &url, after(second)).unwrap();
    }
    sent(&mut jar, &at("https://a.example.org"), after(5));
    assert_eq!(jar.store(b"d=1", &at("https://d.example.org"), after(6)), Ok(Stored::Added { evicted: 1 }));
    assert_eq!(names(&jar), "acd");
}

fn names(jar: &Jar) -> String {
    jar.list(&Filter::all()).map(|kept| kept.name_text()).collect()
}

#[test]
fn cookies_are_found_set_and_deleted() {
    let host = |text: &str| Host::parse(text).unwrap();
    let mut jar = jar(&[
        ("https://example.org", "a=1; Domain=example.org"),
        ("https://www.example.org", "b=1"),
        ("https://example.net", "a=1; Max-Age=9"),
    ]);
    let count = |jar: &Jar, filter: &Filter| jar.list(filter).count();
    assert_eq!(count(&jar, &Filter::within(host("example.org"))), 2);
    assert_eq!(count(&jar, &Filter::within(host("example.org")).named("a")), 1);
    assert_eq!(count(&jar, &Filter { of_host: Some(host("x.example.org")), ..Filter::all() }), 1);
    assert_eq!(count(&jar, &Filter { session: Some(false), ..Filter::all() }), 1);
    assert_eq!(count(&jar, &Filter { ends_before: Some(after(10)), ..Filter::all() }), 1);
    assert_eq!(jar.delete(&Filter::all().named("a")), 2);
    assert_eq!(jar.set(Cookie::new(host("www.example.org"), b"b", b"2"), NOW), Ok(Stored::Replaced));
    let wrong = |change: fn(&mut Cookie), why| {
        let mut cookie = Cookie::new(host("example.org"), b"n", b"v");
        change(&mut cookie);
        assert_eq!(Jar::new().set(cookie, NOW), Err(why));
    };
    wrong(|c| c.name = b"a=b".to_vec(), Ignored::Unwritable);
    wrong(|c| c.name = b" a".to_vec(), Ignored::Unwritable);
    wrong(|c| c.name = b"a\n".to_vec(), Ignored::ControlCharacter);
    wrong(|c| c.name = vec![b'n'; 4_096], Ignored::TooLong);
    wrong(|c| c.name = b"__host-a".to_vec(), Ignored::Prefix);
    wrong(|c| c.path = "a".to_owned(), Ignored::Path);
    wrong(|c| c.expires = Some(NOW), Ignored::Expired);
    wrong(|c| (c.domain, c.host_only) = (Host::parse("co.uk").unwrap(), false), Ignored::PublicSuffix);
}

#[test]
fn values_are_in_no_debug_text() {
    let jar = jar(&[("https://example.org", "name=hunter2")]);
    let text = format!(
        "{jar:?} {:?} {:?}",
        jar.list(&Filter::all()).next(),
        jar.export(sessile_jar::Format::Netscape, NOW)
    );
    assert!(text.contains("name") && text.contains("[redacted]"));
    assert!(!text.contains("hunter2") && !text.contains(&format!("{:?}", b"hunter2")));
}
