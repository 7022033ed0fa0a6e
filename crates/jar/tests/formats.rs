//! Files of other programs, and checkpoints.

#![allow(clippy::unwrap_used)]

use sessile_jar::{
    Context, Filter, Format, Ignored, ImportError, Imported, Jar, Lost, MOST_ENTRIES, MOST_INPUT, Refusal,
    Refused, RequestUrl,
};
use sessile_model::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn jar(headers: &[&str]) -> Jar {
    let mut jar = Jar::new();
    let url = Context::new(RequestUrl::parse("https://www.example.org/a/b").unwrap());
    for header in headers {
        jar.store(header.as_bytes(), &url, NOW).unwrap();
    }
    jar
}

fn export(jar: &Jar, format: Format) -> (String, Vec<(String, Lost)>) {
    let exported = jar.export(format, NOW);
    let lost = exported.lost.iter().map(|(name, _, lost)| (name.clone(), *lost)).collect();
    (String::from_utf8(exported.text.to_vec()).unwrap(), lost)
}

fn import(format: Format, text: &str) -> (Jar, Imported) {
    let mut jar = Jar::new();
    let imported = jar.import(format, text.as_bytes(), NOW).unwrap();
    (jar, imported)
}

#[test]
fn netscape_lines_are_written() {
    let jar = jar(&[
        "session=1",
        "http=2; HttpOnly; Secure; Path=/; Domain=example.org; Max-Age=60",
        "strict=3; SameSite=Strict",
        "parted=4; Partitioned; Secure",
        "tab=5\t5",
        "empty=; Path=/",
        "=nameless; Path=/",
    ]);
    let (text, lost) = export(&jar, Format::Netscape);
    assert_eq!(
        text,
        "# Netscape HTTP Cookie File\n\n\
         www.example.org\tFALSE\t/a\tFALSE\t0\tsession\t1\n\
         #HttpOnly_.example.org\tTRUE\t/\tTRUE\t1700000060\thttp\t2\n\
         www.example.org\tFALSE\t/a\tFALSE\t0\tstrict\t3\n\
         www.example.org\tFALSE\t/\tFALSE\t0\tempty\t\n\
         www.example.org\tFALSE\t/\tFALSE\t0\t\tnameless\n"
    );
    let named = |name: &str, lost| (name.to_owned(), lost);
    assert_eq!(
        lost,
        [named("strict", Lost::SameSite), named("parted", Lost::Partitioned), named("tab", Lost::Unwritable)]
    );
    assert_eq!(jar.export(Format::Netscape, NOW).cookies, 5);
}

#[test]
fn netscape_lines_are_read_and_bad_ones_named() {
    let text = "\u{feff}# Netscape HTTP Cookie File\r\n\
        # a comment\n\
        \n\
        .example.org\tTRUE\t/\tFALSE\t0\ta\t1\r\n\
        #HttpOnly_example.org\tfalse\t/x\tTrue\t1900000000\tb\t2\n\
        example.org\tFALSE\t/\tFALSE\t1\told\t3\n\
        example.org\tFALSE\t/\tFALSE\t0\tempty\n\
        too few fields\n\
        example.org\tFALSE\t/\tFALSE\t0\ta\tb\tc\n\
        exa mple.org\tFALSE\t/\tFALSE\t0\ta\tb\n\
        example.org\tyes\t/\tFALSE\t0\ta\tb\n\
        example.org\tFALSE\t/\tFALSE\tsoon\ta\tb\n\
        .co.uk\tTRUE\t/\tFALSE\t0\ta\tb\n\
        example.org\tFALSE\tx\tFALSE\t0\ta\tb\n\
        example.org\tFALSE\t/\tFALSE\t0\t__Host-a\tb\n\
        .example.org\tTRUE\t/\tFALSE\t0\ta\t2";
    let (jar, imported) = import(Format::Netscape, text);
    let refused = |at, why| Refusal { at, why };
    assert_eq!(
        imported,
        Imported {
            added: 3,
            replaced: 1,
            expired: 1,
            refused: vec![
                refused(8, Refused::Fields),
                refused(9, Refused::Fields),
                refused(10, Refused::Domain),
                refused(11, Refused::Value),
                refused(12, Refused::Value),
                refused(13, Refused::Ignored(Ignored::PublicSuffix)),
                refused(14, Refused::Ignored(Ignored::Path)),
                refused(15, Refused::Ignored(Ignored::Prefix)),
            ],
            ..Imported::default()
        }
    );
    let all = Filter::all();
    let kept: Vec<_> = jar.list(&all).collect();
    assert_eq!((kept[0].value.expose(), kept[0].host_only, kept[0].http_only), (&b"2"[..], false, false));
    assert!(kept[1].host_only && kept[1].http_only && kept[1].secure && kept[1].path == "/x");
    // At most 400 days.
    assert_eq!(kept[1].expires, Some(NOW.plus(sessile_jar::LONGEST_LIFE)));
}

#[test]
fn storage_states_are_written_as_playwright_does() {
    let jar = jar(&[
        "a=\"1\"; SameSite=Strict; HttpOnly; Domain=example.org; Path=/",
        "b=2; Max-Age=60",
        "c=3; Partitioned; Secure; SameSite=None",
    ]);
    let (text, lost) = export(&jar, Format::StorageState);
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        state,
        serde_json::json!({
            "cookies": [
                {"name": "a", "value": "\"1\"", "domain": ".example.org", "path": "/", "expires": -1.0,
                 "httpOnly": true, "secure": false, "sameSite": "Strict"},
                {"name": "b", "value": "2", "domain": "www.example.org", "path": "/a", "expires": 1_700_000_060.0,
                 "httpOnly": false, "secure": false, "sameSite": "Lax"},
                {"name": "c", "value": "3", "domain": "www.example.org", "path": "/a", "expires": -1.0,
                 "httpOnly": false, "secure": true, "sameSite": "None",
                 "partitionKey": "https://example.org", "_crHasCrossSiteAncestor": false},
            ],
            "origins": [],
        })
    );
    assert_eq!(lost, [("b".to_owned(), Lost::DefaultSameSite)]);
}

#[test]
fn storage_states_are_read_and_bad_entries_named() {
    let entry = |change: serde_json::Value| {
        let mut entry = serde_json::json!({
            "name": "a", "value": "1", "domain": "example.org", "path": "/", "expires": -1,
            "httpOnly": false, "secure": true, "sameSite": "None",
        });
        for (key, value) in change.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry
    };
    let changes = [
        serde_json::json!({}),
        serde_json::json!({"domain": ".example.org", "expires": 1_700_000_000.5, "sameSite": null}),
        serde_json::json!({"name": "b", "partitionKey": "https://a.example", "_crHasCrossSiteAncestor": true}),
        serde_json::json!({"expires": 1.0}),
        serde_json::json!({"secure": false}),
        serde_json::json!({"name": 1}),
        serde_json::json!({"domain": ""}),
        serde_json::json!({"sameSite": "Sometimes"}),
        serde_json::json!({"expires": "never"}),
        serde_json::json!({"partitionKey": "a.example"}),
        serde_json::json!({"value": "a;b"}),
        serde_json::json!({"expires": 1e300, "name": "c"}),
    ];
    let entries: Vec<_> = changes.into_iter().map(entry).collect();
    let text =
        serde_json::json!({"cookies": entries, "origins": [{"origin": "https://a.example"}]}).to_string();
    let (jar, imported) = import(Format::StorageState, &text);
    let refused = |at, why| Refusal { at, why };
    assert_eq!(
        imported,
        Imported {
            added: 4,
            expired: 1,
            refused: vec![
                refused(5, Refused::Ignored(Ignored::NoneNotSecure)),
                refused(6, Refused::Fields),
                refused(7, Refused::Domain),
                refused(8, Refused::Value),
                refused(9, Refused::Value),
                refused(10, Refused::Partition),
                refused(11, Refused::Ignored(Ignored::Unwritable)),
            ],
            origins_ignored: 1,
            ..Imported::default()
        }
    );
    assert_eq!(jar.list(&Filter { partitioned: Some(true), ..Filter::all() }).count(), 1);
}

#[test]
fn files_that_are_none_change_nothing() {
    let mut jar = jar(&["a=1"]);
    let mut fails = |format, text: &[u8]| jar.import(format, text, NOW).unwrap_err();
    assert!(matches!(fails(Format::Netscape, &vec![b'#'; MOST_INPUT + 1]), ImportError::TooLong));
    assert!(matches!(fails(Format::Netscape, &b"x\n".repeat(MOST_ENTRIES + 1)), ImportError::TooMany));
    let many = format!(r#"{{"cookies": [{}0]}}"#, "0,".repeat(MOST_ENTRIES));
    assert!(matches!(fails(Format::StorageState, many.as_bytes()), ImportError::TooMany));
    assert!(matches!(fails(Format::StorageState, b"{\n?"), ImportError::Json { line: 2, column: 1 }));
    assert!(matches!(fails(Format::StorageState, b"[]"), ImportError::Shape));
    assert!(matches!(fails(Format::StorageState, &b"[".repeat(1 << 20)), ImportError::Json { .. }));
    assert_eq!(jar.len(), 1);
}

#[test]
fn a_saved_jar_comes_back_and_a_changed_one_does_not() {
    let jar =
        jar(&["a=1; Max-Age=60", "b=\u{e9}; Secure; Partitioned; SameSite=None", "=c; Domain=example.org"]);
    let text = serde_json::to_string(&jar).unwrap();
    let back: Jar = serde_json::from_str(&text).unwrap();
    let all = Filter::all();
    assert!(jar.list(&all).eq(back.list(&all)));
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
    for (from, to) in [
        ("\"/a\"", "\"a\""),
        ("\"total\":3000", "\"total\":2"),
        ("\"per_domain\":180", "\"per_domain\":0"),
        ("\"next_sequence\":3", "\"next_sequence\":2"),
        ("\"sequence\":1", "\"sequence\":0"),
        ("\"name\":\"Yg==\"", "\"name\":\"?\""),
        ("\"name\":\"Yg==\"", "\"name\":\"Cg==\""),
        ("\"www.example.org\"", "\"WWW example\""),
        ("\"same_site\":\"default\"", "\"same_site\":\"none\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(serde_json::from_str::<Jar>(&changed).is_err(), "{from} {to}");
    }
    let twice = serde_json::to_string(&self::jar(&["a=1", "b=1"])).unwrap();
    let twice = twice.replace("\"name\":\"Yg==\"", "\"name\":\"YQ==\"");
    assert!(serde_json::from_str::<Jar>(&twice).is_err());
}
