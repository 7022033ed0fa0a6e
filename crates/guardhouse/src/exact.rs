//! JSON as it came: numbers digit by digit, members in their order. What readers take differently is made one: of a name
//! that stands twice the last counts, and texts are escaped one way.
//!
//! A number of JSON has no bounds (RFC 8259, section 6). What reads it into 64 bits, or a fraction of so many, says
//! another one.

use std::collections::HashMap;

use serde_json::Number;
use serde_json::value::RawValue;

/// Deepest nesting: what `serde_json` reads.
const MOST_DEEP: usize = 127;

/// What becomes of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// They stay.
    Stay,
    /// Those that would be read as other numbers become texts.
    Quoted,
}

/// The same JSON, its numbers as they came; `None` where it is none or nested too deep.
pub fn written(json: &str) -> Option<String> {
    rewritten(json, Numbers::Stay)
}

/// The same for who reads numbers into 64 bits: what would be another number then is a text.
pub fn readable(json: &str) -> Option<String> {
    rewritten(json, Numbers::Quoted)
}

fn rewritten(json: &str, numbers: Numbers) -> Option<String> {
    // From here on the grammar holds.
    let raw: &RawValue = serde_json::from_str(json).ok()?;
    let mut out = String::with_capacity(json.len());
    Reader { json: raw.get(), at: 0, numbers }.value(0, &mut out)?;
    Some(out)
}

struct Reader<'a> {
    json: &'a str,
    at: usize,
    numbers: Numbers,
}

impl<'a> Reader<'a> {
    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.json.as_bytes().get(self.at).copied()
    }

    /// As much as is of these bytes.
    fn run(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.json[self.at..];
        let length = rest.bytes().take_while(|byte| is_part(*byte)).count();
        self.at += length;
        &rest[..length]
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        match self.next()? {
            b'{' | b'[' if depth >= MOST_DEEP => return None,
            b'{' => self.object(depth + 1, out)?,
            b'[' => self.list(depth + 1, out)?,
            b'"' => out.push_str(&self.text()?),
            b'-' | b'0'..=b'9' => {
                let number = self.run(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
                match self.numbers == Numbers::Stay || is_read_as(number) {
                    true => out.push_str(number),
                    false => out.extend(["\"", number, "\""]),
                }
            }
            _ => out.push_str(self.run(|byte| byte.is_ascii_lowercase())),
        }
        Some(())
    }

    fn list(&mut self, depth: usize, out: &mut String) -> Option<()> {
        self.at += 1;
        out.push('[');
        while self.next()? != b']' {
            self.value(depth, out)?;
            if self.next()? == b',' {
                self.at += 1;
                out.push(',');
            }
        }
        self.at += 1;
        out.push(']');
        Some(())
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Option<()> {
        self.at += 1;
        let mut members: Vec<(String, String)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while self.next()? != b'}' {
            let name = self.text()?;
            self.next()?;
            self.at += 1;
            let mut value = String::new();
            self.value(depth, &mut value)?;
            match places.get(&name) {
                Some(&place) => members.get_mut(place)?.1 = value,
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        out.push('{');
        for (place, (name, value)) in members.iter().enumerate() {
            out.extend([if place > 0 { "," } else { "" }, name.as_str(), ":", value.as_str()]);
        }
        out.push('}');
        Some(())
    }

    /// A text, in the one way to escape it.
    fn text(&mut self) -> Option<String> {
        let (start, bytes) = (self.at, self.json.as_bytes());
        self.at += 1;
        while *bytes.get(self.at)? != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let read: String = serde_json::from_str(self.json.get(start..self.at)?).ok()?;
        serde_json::to_string(&read).ok()
    }
}

/// Whether who reads a number into 64 bits has the same number.
fn is_read_as(number: &str) -> bool {
    let read = serde_json::from_str::<Number>(number);
    read.is_ok_and(|read| decimal(number).is_some_and(|own| decimal(&read.to_string()) == Some(own)))
}

/// Sign, digits without zeros around them, and the power of ten of the last one.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (is_less, rest) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (digits, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let dropped = i64::try_from(all.len() - kept.len()).ok()?;
    let power = power.parse::<i64>().ok()?;
    let power = power.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    let kept = kept.trim_start_matches('0');
    Some((is_less, kept.to_owned(), if kept.is_empty() { 0 } else { power }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn numbers_stay_digit_by_digit() {
        for number in [
            "0",
            "-0",
            "1",
            "1.0",
            "1.50",
            "1e3",
            "1E+3",
            "1e400",
            "-1e-400",
            "18446744073709551615",
            "18446744073709551616",
            "123456789012345678901234567890",
            "-9223372036854775809",
            "3.14159265358979323846264338327950288",
            "0.1000000000000000055511151231257827",
            "100000000000000000000000",
        ] {
            let json = format!("{{\"n\":[{number},{{\"m\":{number}}}]}}");
            assert_eq!(written(&json).as_ref(), Some(&json));
        }
    }

    #[test]
    fn who_reads_into_64_bits_reads_the_same_or_a_text() {
        for (number, stays) in [
            ("0", true),
            ("-0", true),
            ("1.0", true),
            ("1.50", true),
            ("1e3", true),
            ("18446744073709551615", true),
            ("18446744073709551616", false),
            ("100000000000000000000000", true),
            ("0.1", true),
            ("1e-7", true),
            ("18446744073709551617", false),
            ("123456789012345678901234567890", false),
            ("1e400", false),
            ("-9223372036854775809", false),
            ("3.14159265358979323846", false),
            ("1e99999999999999999999", false),
            ("1e-400", false),
        ] {
            let told = if stays { number.to_owned() } else { format!("\"{number}\"") };
            assert_eq!(readable(number), Some(told.clone()), "{number}");
            assert!(serde_json::from_str::<Value>(&told).is_ok(), "{number}");
        }
    }

    #[test]
    fn what_readers_take_differently_is_made_one() {
        let json = "{ \"a\" : 1 , \"b\":[ true,null , \"\\u0041\\/\"],\"\\u0061\":\t{\"x\":{}}, \"c\":[] }";
        assert_eq!(written(json).as_deref(), Some(r#"{"a":{"x":{}},"b":[true,null,"A/"],"c":[]}"#));
        for bad in
            ["", "{", "[1,]", "{\"a\":}", "01", "1.", "nul", "\"\\ud800\"", "{a:1}", "[1] 2", "{\"a\" 1}"]
        {
            assert_eq!(written(bad), None, "{bad}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(written(&deep(127)), Some(deep(127)));
        assert!(serde_json::from_str::<Value>(&deep(127)).is_ok());
        assert_eq!(written(&deep(128)), None);
        assert_eq!(written(&format!("{}1", "[".repeat(100_000))), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,6}|[\"\\\\\n]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec(("\\PC{0,4}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_read_as_before(value in any_json(), pretty in any::<bool>()) {
            let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            for told in [written(&json), readable(&json)] {
                prop_assert_eq!(&serde_json::from_str::<Value>(&told.unwrap()).unwrap(), &value);
            }
        }

        #[test]
        fn whatever_is_no_json_harms_nothing(json in "[\"\\\\a:,é{}\\[\\]0-9.eE+ -]{0,40}") {
            prop_assert_eq!(written(&json).is_some(), readable(&json).is_some());
        }
    }
}
