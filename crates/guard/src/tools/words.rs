//! What words in the names of tools and arguments say.

use super::lists::{
    ADDS, CHANGES, CONTENTS, CREDENTIALS, DESTINATIONS, DESTROYS, IDENTIFIERS, OUTWARD, PATHS, PREPOSITIONS,
    READS, SENDS, URLS, WEB,
};

/// What a tool does, ordered from the mildest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doing {
    /// It looks.
    Reads,
    /// It makes something new.
    Adds,
    /// It changes what is there.
    Changes,
    /// It reaches others.
    Sends,
    /// It destroys, takes away, opens or runs something.
    Destroys,
}

/// What an argument is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Somebody or some place that the call reaches.
    Destination,
    /// A place on the network.
    Url,
    /// A place in a file system, or something that is run.
    PathOrCommand,
    /// What opens something.
    Credential,
    /// The thing on which the call acts.
    Identifier,
    /// Something that is said, counted or dated.
    Content,
    /// Nothing that its name shows.
    Other,
}

/// The words of a name in lower case: `get_user`, `getUser`, `Get-User` and `get.user` are the same.
pub(crate) fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_new = true;
    let mut before = ' ';
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            is_new = true;
        } else {
            let follows_lower = before.is_lowercase() || before.is_ascii_digit();
            let ends_acronym = before.is_uppercase() && chars.peek().is_some_and(|next| next.is_lowercase());
            if c.is_uppercase() && (follows_lower || ends_acronym) {
                is_new = true;
            }
            if is_new {
                words.push(String::new());
            }
            is_new = false;
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words
}

/// A noun without its plural, as far as that is an `s`.
pub(crate) fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(rest) if rest.len() > 2 && !rest.ends_with(['s', 'u', 'i']) => rest,
        Some(_) | None => word,
    }
}

fn has(list: &[&str], word: &str) -> bool {
    list.contains(&word)
}

/// What a verb does, where it is one.
pub(crate) fn doing(word: &str) -> Option<Doing> {
    if has(DESTROYS, word) {
        Some(Doing::Destroys)
    } else if has(SENDS, word) {
        Some(Doing::Sends)
    } else if has(CHANGES, word) {
        Some(Doing::Changes)
    } else if has(ADDS, word) {
        Some(Doing::Adds)
    } else if has(READS, word) {
        Some(Doing::Reads)
    } else {
        None
    }
}

/// What a description's first word does: `Sends`, `Send`, `Fetches`.
pub(crate) fn said(description: &str) -> Option<Doing> {
    let first =
        description.split_whitespace().next()?.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let bare = [Some(first.as_str()), first.strip_suffix('s'), first.strip_suffix("es")];
    let replaced = first.strip_suffix("ies").map(|stem| format!("{stem}y"));
    bare.into_iter().flatten().chain(replaced.as_deref()).find_map(doing)
}

/// Whether a tool's name says that it reaches the web.
pub(crate) fn is_web(words: &[String]) -> bool {
    words.iter().any(|word| has(WEB, word))
}

/// Whether what is made is something that others get.
pub(crate) fn is_outward(words: &[String]) -> bool {
    words.iter().any(|word| has(OUTWARD, singular(word)))
}

/// The words between a verb and the first preposition: `recent`, `transactions`.
pub(crate) fn object<'a>(words: &'a [String], verb: &str) -> &'a [String] {
    let from = words.iter().position(|word| word == verb).map_or(0, |at| at + 1);
    let rest = &words[from..];
    let end = rest.iter().position(|word| has(PREPOSITIONS, word)).unwrap_or(rest.len());
    &rest[..end]
}

/// Whether a noun names something that is said, counted or dated.
pub(crate) fn is_content(noun: &str) -> bool {
    has(CONTENTS, noun)
}

/// What an argument is about, by its name.
pub(crate) fn about(argument: &str) -> About {
    let words = split(argument);
    let Some(last) = words.last() else { return About::Other };
    let any = |list: &[&str]| words.iter().any(|word| has(list, singular(word)) || has(list, word));
    if has(IDENTIFIERS, last) {
        // Who is reached may be written as a number; a mail's is the mail's own.
        let before = words.iter().rev().nth(1).map(|word| singular(word));
        let is_somebody =
            before.is_some_and(|word| has(DESTINATIONS, word) && !has(&["email", "mail"], word));
        if is_somebody { About::Destination } else { About::Identifier }
    } else if is_content(last) || is_content(singular(last)) {
        About::Content
    } else if any(URLS) {
        About::Url
    } else if any(PATHS) {
        About::PathOrCommand
    } else if any(CREDENTIALS) {
        About::Credential
    } else if any(DESTINATIONS) {
        About::Destination
    } else {
        About::Other
    }
}

/// What an argument is about, by its description, where its name does not show it.
pub(crate) fn described(description: &str) -> About {
    let words = split(description);
    let any = |list: &[&str]| words.iter().any(|word| has(list, singular(word)));
    let is_email = words.windows(2).any(|two| two[0] == "email" && singular(&two[1]).starts_with("address"));
    if any(&["url", "uri", "webhook"]) {
        About::Url
    } else if is_email || any(&["iban", "recipient", "payee"]) {
        About::Destination
    } else if any(&["password", "passphrase", "credential"]) {
        About::Credential
    } else {
        About::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split() {
        for (name, expected) in [
            ("get_user_info", "get user info"),
            ("AmazonGetProductDetails", "amazon get product details"),
            ("parseHTTPBody", "parse http body"),
            ("files.read-2", "files read 2"),
            ("", ""),
        ] {
            assert_eq!(split(name).join(" "), expected);
        }
    }

    #[test]
    fn arguments() {
        for (name, expected) in [
            ("recipient", About::Destination),
            ("recipients", About::Destination),
            ("user_email", About::Destination),
            ("email_id", About::Identifier),
            ("user_id", About::Destination),
            ("id", About::Identifier),
            ("email_subject", About::Content),
            ("file_path", About::PathOrCommand),
            ("targetUrl", About::Url),
            ("new_password", About::Credential),
            ("participants", About::Destination),
            ("start_time", About::Content),
            ("hotel", About::Other),
            ("amount", About::Content),
            ("bcc", About::Destination),
        ] {
            assert_eq!(about(name), expected, "{name}");
        }
        assert_eq!(described("The e-mail, as an email address."), About::Destination);
        assert_eq!(described("IBAN of the other side"), About::Destination);
        assert_eq!(described("How warm it is to be"), About::Other);
    }

    #[test]
    fn verbs() {
        assert_eq!(said("Sends a transaction."), Some(Doing::Sends));
        assert_eq!(said("Fetches it"), Some(Doing::Reads));
        assert_eq!(said("Modifies it"), Some(Doing::Changes));
        assert_eq!(said("The weather"), None);
        let lists = [READS, ADDS, CHANGES, SENDS, DESTROYS];
        for (at, list) in lists.iter().enumerate() {
            assert!(list.iter().all(|word| lists[at + 1..].iter().all(|other| !other.contains(word))));
        }
    }
}
