//! Registered values in disguise are found, and nothing else is.

#[path = "../examples/measure/transformations.rs"]
mod transformations;

use sessile_guard::{Category, Inspector, Raw, Registry, Trail};
use transformations::{WAYS, values};

fn inspector(values: &[&str]) -> Inspector {
    let mut registry = Registry::new([3; 32]);
    for value in values {
        registry.add(value).expect("a value that can be told");
    }
    Inspector::with_registry(registry)
}

fn tainted(inspector: &Inspector, messages: &[String]) -> bool {
    let mut trail = Trail::default();
    messages.iter().any(|message| {
        let inspected = inspector.inspect_next(Raw::new(message.clone()), &mut trail);
        inspected.findings().iter().any(|finding| finding.category == Category::Taint)
    })
}

#[test]
fn nineteen_of_twenty_disguises_are_seen_through() {
    let (mut missed, mut all) = (Vec::new(), 0);
    for (name, _, way) in WAYS {
        for number in 0..3 {
            for (kind, value) in values(number) {
                all += 1;
                if !tainted(&inspector(&[&value]), &way(&value)) {
                    missed.push(format!("{name}: {kind} {value:?}"));
                }
            }
        }
    }
    assert!(WAYS.len() >= 75, "{} ways", WAYS.len());
    // Each way is seen through for most values.
    for (name, _, _) in WAYS {
        let of_way = missed.iter().filter(|told| told.starts_with(&format!("{name}: "))).count();
        assert!(of_way * 2 < 18, "{name}: {of_way} of 18 missed");
    }
    assert!(missed.len() * 20 <= all, "{} of {all} missed: {missed:#?}", missed.len());
}

#[test]
fn a_value_in_pieces_is_found_in_the_message_that_ends_it() {
    let value = "k3Yq-Zt91-pLm4-wXyZ";
    for count in 2..6 {
        let inspector = inspector(&[value]);
        let mut trail = Trail::default();
        let pieces: Vec<&str> = value
            .as_bytes()
            .chunks(value.len().div_ceil(count))
            .map(|piece| std::str::from_utf8(piece).expect("ASCII"))
            .collect();
        let spans: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let inspected = inspector.inspect_next(Raw::new(format!("{piece}.")), &mut trail);
                inspected
                    .findings()
                    .iter()
                    .any(|finding| finding.category == Category::Taint && finding.confidence > 0.9)
            })
            .collect();
        let (last, before) = spans.split_last().expect("pieces");
        assert!(*last && before.iter().all(|found| !found), "{count}: {spans:?}");
    }
}

#[test]
fn another_value_s_disguises_are_no_alarm() {
    let registered: Vec<String> = (100..120).flat_map(values).map(|(_, value)| value).collect();
    let inspector = inspector(&registered.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, _, way) in WAYS {
        for (kind, value) in values(1) {
            if !registered.contains(&value) {
                assert!(!tainted(&inspector, &way(&value)), "{name}: {kind} {value:?}");
            }
        }
    }
}

#[test]
fn a_finding_in_what_is_encoded_points_at_all_of_the_encoding() {
    let value = "k3Yq-Zt91-pLm4-wX";
    let inspector = inspector(&[value]);
    let encoded = transformations::base64(value.as_bytes(), false);
    let text = format!("é → {encoded}, and more");
    let inspected = inspector.inspect(Raw::new(text.clone()));
    let finding = inspected.findings().iter().find(|f| f.category == Category::Taint).expect("a finding");
    assert!(encoded.ends_with('='));
    assert_eq!(&text[finding.span.clone()], encoded);
    // A sign behind a name is none of it.
    let name = transformations::base64(value.as_bytes(), false).replace('=', "");
    let text = format!("{name}=other&x=1");
    let inspected = inspector.inspect(Raw::new(text.clone()));
    let finding = inspected.findings().iter().find(|f| f.category == Category::Taint).expect("a finding");
    assert_eq!(&text[finding.span.clone()], name);
}

#[test]
fn all_of_the_pieces_are_pointed_at_and_nothing_between_them() {
    let value = "k3Yq-Zt91-pLm4-wXyZ-7bNc";
    let inspector = inspector(&[value]);
    let hidden = transformations::base64(b"the end of it is wXyZ-7bNc", false);
    let text = format!("begin with k3Yq-Zt9, then take 1-pLm4- to it; {hidden}");
    let inspected = inspector.inspect(Raw::new(text.clone()));
    let taints = inspected.findings().iter().filter(|f| f.category == Category::Taint);
    let told: Vec<&str> = taints.map(|finding| &text[finding.span.clone()]).collect();
    assert_eq!(told[..2], ["k3Yq-Zt9", "1-pLm4"]);
    assert!(told.len() == 3 && hidden.contains(told[2]), "{told:?}");
}

/// What is glued to an encoding may be of letters that a wider one has.
#[test]
fn what_is_glued_to_an_encoding_hides_nothing() {
    let value = "tk-Zq8RwLm4Vx2Bn7Hs9Kd3";
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let binary: String = value.bytes().map(|byte| format!("{byte:08b}")).collect();
    let base32 = "ORVS2WTRHBJHOTDNGRLHQMSCNY3UQ4ZZJNSDG";
    let inspector = inspector(&[value]);
    let is_found = |text: &str| tainted(&inspector, &[text.to_owned()]);
    for encoded in [&hex, &hex.to_uppercase(), &binary, base32] {
        for glued in ["{}", "https://e.example/{}", "id-{}", "k_{}", "{}/", "{}-end", "a+{}+b"] {
            assert!(is_found(&glued.replace("{}", encoded)), "{glued} of {encoded}");
        }
    }
    for encoded in [&hex, &binary] {
        for glued in ["{}x", "img/v{}.png", "t_{}z"] {
            assert!(is_found(&glued.replace("{}", encoded)), "{glued} of {encoded}");
        }
    }
    for width in [4, 8, 10, 12, 16, 20, 24] {
        for separator in [" ", "\n", ":", "-"] {
            let groups: Vec<&str> =
                hex.as_bytes().chunks(width).map(|group| std::str::from_utf8(group).unwrap()).collect();
            assert!(is_found(&groups.join(separator)), "in groups of {width} with {separator:?}");
        }
    }
}

/// The letters of base 85 as Git and Python have them, and as PostScript has them.
#[test]
fn base_85_is_read_behind_a_name_and_between_quotation_marks() {
    let signs: Vec<u8> =
        (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').chain(*b"!#$%&()*+-;<=>?@^_`{|}~").collect();
    let postscript: Vec<u8> = (b'!'..=b'u').collect();
    for value in
        ["k3Yq-Zt91-pLm4-wXyZ", "tk-Zq8RwLm4Vx2Bn7Hs9Kd3", "Tr0ub4dor3xyz", "glpat-Zx71kdMm2x90Ttq3Wv8L"]
    {
        let inspector = inspector(&[value]);
        for alphabet in [&signs, &postscript] {
            let encoded = transformations::base85(value.as_bytes(), alphabet);
            for glued in [
                "{}",
                "q={}",
                "?q={}",
                "/?a=1&q={}",
                "/?q={}&page=12",
                "GET /?q={} HTTP/1.1",
                "https://a.example/v1/things?q={}",
                "note={} end",
                "\"{}\"",
                "'{}'",
                "{\"note\":\"{}\"}",
                "{\"id\":12,\"note\":\"{}\",\"more\":true}",
                "[\"a\",\"{}\"]",
                "f('{}')",
                "`{}`",
                "key:{}",
                "data=\"{}\"",
            ] {
                let text = glued.replace("{}", &encoded);
                let inspected = inspector.inspect(Raw::new(text.clone()));
                let finding = inspected.findings().iter().find(|f| f.category == Category::Taint);
                let finding = finding.unwrap_or_else(|| panic!("{glued} of {encoded}"));
                assert!(text[finding.span.clone()].len() <= encoded.len() + 2, "{glued} of {encoded}");
            }
        }
    }
}
