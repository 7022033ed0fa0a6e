//! One spelling for a request's path, so that a policy about it cannot be walked around.

/// The path of a request's target as policies see it: without scheme, authority and query; escapes
/// of characters that need none are undone, the others in upper case; `.` and `..` are resolved,
/// doubled slashes are one (RFC 3986, section 6.2.2, and what servers do beyond it).
pub fn plain(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("", |start| &rest[start..]),
        Some(_) | None => path,
    };
    let path = unescaped(path);
    // Some servers take a backslash for a slash.
    let path = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        // Some servers cut a segment's parameters off before they resolve it (RFC 3986, section 3.3).
        let name = segment.find(';').or_else(|| segment.find("%3B")).map_or(segment, |at| &segment[..at]);
        match name {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let mut plain = String::with_capacity(path.len() + 1);
    for segment in &kept {
        plain.push('/');
        plain.push_str(segment);
    }
    if is_folder || plain.is_empty() {
        plain.push('/');
    }
    plain
}

/// Bytes of UTF-8 that are one too many, as some servers once took them.
const OVERLONG: [(&str, &str); 6] = [
    ("%C0%AE", "."),
    ("%C0%AF", "/"),
    ("%C1%9C", "\\"),
    ("%E0%80%AE", "."),
    ("%E0%80%AF", "/"),
    ("%E0%81%9C", "\\"),
];

/// With escapes undone, those of a slash and a backslash too, until nothing changes: a server may
/// undo them once more than the next one. The rest in upper case.
fn unescaped(path: &str) -> String {
    let mut path = path.to_owned();
    // Each round shortens it by two bytes at least; a few rounds are all that servers make.
    for _ in 0..4 {
        let mut next = unescaped_once(&path);
        for (overlong, byte) in OVERLONG {
            next = next.replace(overlong, byte);
        }
        if next == path {
            break;
        }
        path = next;
    }
    path
}

fn unescaped_once(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(value) if byte == b'%' && is_plain(value) => {
                out.push(value);
                at += 3;
            }
            Some(value) if byte == b'%' => {
                out.extend_from_slice(format!("%{value:02X}").as_bytes());
                at += 3;
            }
            Some(_) | None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether an escape of it says no more than it itself.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling() {
        for (target, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//b", "/a/b"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/%61%20%c3%bc", "/a%20%C3%BC"),
            ("/%2561", "/a"),
            ("/a?b=/../c", "/a"),
            ("/a#/../c", "/a"),
            ("http://h.example/a/..", "/"),
            ("http://h.example", "/"),
            ("/go?to=http://x/y", "/go"),
            ("/go/http://x/y", "/go/http:/x/y"),
            ("/a/..;/b", "/b"),
            ("/a/..;x=1/.;/b;v=2/c", "/b;v=2/c"),
            ("/a/..%3b/b", "/b"),
            ("/a/..%c0%af%c0%ae./b", "/b"),
            ("*", "/*"),
            ("/a%", "/a%"),
            ("/a%2", "/a%2"),
            ("/a%zz", "/a%zz"),
        ] {
            assert_eq!(plain(target), expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_resolve(target in "(/|\\.|%2e|%2f|a|\\\\|\\?|%25|ü){0,12}") {
            let path = plain(&target);
            prop_assert!(path.starts_with('/'));
            prop_assert!(!path.contains("//"), "{path}");
            prop_assert!(path.split('/').all(|s| s != "." && s != ".."), "{path}");
        }
    }
}
