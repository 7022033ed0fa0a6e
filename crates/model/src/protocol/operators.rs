//! The keys by which the operators of an installation are known: where they lie, and how their public halves are written.

use super::Speaker;
use crate::hex;

/// The folder of operators' keys in the state folder.
pub const OPERATORS_FOLDER: &str = "operators";
/// What stands before the public half's digits.
const HEAD: &str = "sessile-line-public ";

/// What the files of an operator's key are called, without their ending: `.key` has the secret half, `.pub` the
/// public one. Apps have theirs inside.
pub fn key_name(speaker: &Speaker) -> String {
    match speaker {
        Speaker::Operator(Some(name)) => format!("operator-{name}"),
        Speaker::Operator(None) | Speaker::App(_) => "operator".to_owned(),
    }
}

/// Whose public half a file of this name has.
fn speaker_of(file: &str) -> Option<Speaker> {
    match file.strip_suffix(".pub")? {
        "operator" => Some(Speaker::Operator(None)),
        named => named.strip_prefix("operator-")?.parse().ok().map(Speaker::operator),
    }
}

/// A public half as it is written to its file.
pub fn public_line(key: &[u8; 32]) -> String {
    format!("{HEAD}{}\n", hex::text(key))
}

/// Whose public half a file is, and which; `None` where it is none.
pub fn public_of(file: &str, text: &str) -> Option<(Speaker, [u8; 32])> {
    let digits = text.strip_prefix(HEAD)?.trim_end_matches('\n');
    Some((speaker_of(file)?, hex::bytes(digits)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_half_is_read_as_it_is_written() {
        for text in ["operator", "operator:ann", "operator:a.b-c"] {
            let speaker: Speaker = text.parse().unwrap();
            let file = format!("{}.pub", key_name(&speaker));
            assert_eq!(public_of(&file, &public_line(&[7; 32])), Some((speaker, [7; 32])), "{file}");
        }
        for file in ["operator.key", "operator-.pub", "operator-A.pub", "other.pub", "operator-ann.pub.new"] {
            assert_eq!(public_of(file, &public_line(&[7; 32])), None, "{file}");
        }
        for text in ["", "sessile-line-key 07", "sessile-line-public 07"] {
            assert_eq!(public_of("operator.pub", text), None, "{text}");
        }
    }
}
