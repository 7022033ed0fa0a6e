//! The texts of a call's arguments, and where in the arguments each stands.

use core::ops::Range;

use zeroize::Zeroizing;

/// Texts of arguments one after the other, without what JSON puts between them.
pub struct Texts {
    /// All of them.
    pub text: Zeroizing<String>,
    places: Vec<Place>,
}

struct Place {
    /// Where it begins among the texts.
    begin: usize,
    /// Where it stands in the arguments, without quotation marks.
    origin: Range<usize>,
    /// It stands there as it is.
    is_plain: bool,
}

/// Which texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Strings and numbers that arguments are.
    Value,
    /// Names of arguments.
    Name,
}

impl Texts {
    /// Those of this kind, in the order in which they stand, with this between them.
    pub fn of(arguments: &str, wanted: Kind, between: &str) -> Self {
        let (mut text, mut places) = (Zeroizing::new(String::with_capacity(arguments.len())), Vec::new());
        each(arguments, |kind, origin| {
            let Some(written) = arguments.get(origin.clone()).filter(|_| kind == wanted) else { return };
            if !places.is_empty() {
                text.push_str(between);
            }
            let is_plain = !written.contains('\\');
            places.push(Place { begin: text.len(), origin, is_plain });
            if is_plain {
                text.push_str(written);
            } else {
                let quoted = Zeroizing::new(format!("\"{written}\""));
                let read = serde_json::from_str(&quoted).map(Zeroizing::<String>::new);
                text.push_str(read.as_deref().map_or(written, String::as_str));
            }
        });
        Self { text, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Where in the arguments a span of the texts stands: a span of each text that it touches, the whole
    /// of one that does not stand there as it is.
    pub fn origins(&self, span: &Range<usize>) -> Vec<Range<usize>> {
        let ends = self.places.iter().skip(1).map(|place| place.begin).chain([self.text.len()]);
        let touched = self.places.iter().zip(ends);
        touched
            .filter(|(place, end)| place.begin < span.end && span.start < *end)
            .map(|(place, _)| {
                let Range { start, end } = place.origin.clone();
                if place.is_plain {
                    let within = |at: usize| (start + at.saturating_sub(place.begin)).min(end);
                    within(span.start)..within(span.end)
                } else {
                    start..end
                }
            })
            .filter(|origin| !origin.is_empty())
            .collect()
    }
}

/// Hands on each string, without its quotation marks, and number of a JSON text, with where it stands.
pub fn each(json: &str, mut found: impl FnMut(Kind, Range<usize>)) {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let end = at.min(bytes.len());
                at = end + 1;
                let next = bytes.iter().skip(at).find(|byte| !byte.is_ascii_whitespace());
                found(if next == Some(&b':') { Kind::Name } else { Kind::Value }, start + 1..end);
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                at += bytes[at..].iter().take_while(is_part).count();
                found(Kind::Value, start..at);
            }
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_stand_without_what_is_between_them() {
        let json = r#"{"to" : "ann", "a\u0062c": ["x\"y", -12.5, true, {"deep":"é"}], "none": null}"#;
        assert_eq!(*Texts::of(json, Kind::Name, "|").text, "to|abc|deep|none");
        let values = Texts::of(json, Kind::Value, "|");
        assert_eq!((values.text.as_str(), values.len()), ("ann|x\"y|-12.5|é", 4));
        let at = values.text.find("nn").unwrap();
        let origins = |span: Range<usize>| {
            values.origins(&span).into_iter().map(|origin| &json[origin]).collect::<Vec<_>>()
        };
        assert_eq!(origins(at..at + 5), ["nn", "x\\\"y"], "what is escaped is all of it");
        assert_eq!(origins(8..13), ["-12.5"]);
        assert_eq!(origins(0..values.text.len()), ["ann", "x\\\"y", "-12.5", "é"]);
        assert!(origins(3..3).is_empty());
    }

    proptest! {
        #[test]
        fn every_string_of_any_json_is_among_them(
            names in proptest::collection::vec("\\PC{0,6}", 1..5), values in proptest::collection::vec("\\PC{0,8}|[\"\\\\\n]{1,3}", 5),
        ) {
            let pairs: serde_json::Map<String, serde_json::Value> =
                names.iter().zip(&values).map(|(name, value)| (name.clone(), value.clone().into())).collect();
            let json = serde_json::to_string(&pairs).unwrap();
            let told = |kind| Texts::of(&json, kind, "\u{1}").text.to_string();
            let all = |texts: Vec<String>| texts.join("\u{1}");
            prop_assert_eq!(told(Kind::Name), all(pairs.keys().cloned().collect()));
            prop_assert_eq!(told(Kind::Value), all(pairs.values().map(|v| v.as_str().unwrap().to_owned()).collect()));
        }

        #[test]
        fn whatever_is_no_json_harms_nothing(json in "[\"\\\\a:é{}0-]{0,40}", span in (0usize..50, 0usize..50)) {
            for kind in [Kind::Name, Kind::Value] {
                let texts = Texts::of(&json, kind, "");
                let bound = |at: usize| texts.text.floor_char_boundary(at.min(texts.text.len()));
                for origin in texts.origins(&(bound(span.0.min(span.1))..bound(span.0.max(span.1)))) {
                    prop_assert!(json.get(origin).is_some());
                }
            }
        }
    }
}
