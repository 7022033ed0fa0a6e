//! A short text as who is told where to look reads it: without what stands around the pieces of something.

use core::ops::Range;

use zeroize::Zeroizing;

/// The text with spaces in place of all but what stands in quotation marks; but what follows a name in each line or
/// field; but the last word of each line; but what is outside of tags. Places in them are places in the text; with
/// each, where what is kept stands.
pub fn views(text: &str) -> impl Iterator<Item = (Zeroizing<String>, Vec<Range<usize>>)> {
    [quoted, named, last_words, untagged].into_iter().filter_map(move |way| {
        let kept = way(text);
        // One piece was looked at as it stands.
        (kept.len() > 1).then(|| (only(text, &kept), kept))
    })
}

fn only(text: &str, kept: &[Range<usize>]) -> Zeroizing<String> {
    let mut view = Zeroizing::new(String::with_capacity(text.len()));
    for range in kept {
        let between = range.start - view.len();
        view.extend(core::iter::repeat_n(' ', between));
        view.push_str(&text[range.clone()]);
    }
    view
}

/// What stands in quotation marks and names nothing.
fn quoted(text: &str) -> Vec<Range<usize>> {
    let (bytes, mut kept, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&mark) = bytes.get(at) {
        at += 1;
        if !matches!(mark, b'"' | b'\'' | b'`') {
            continue;
        }
        let start = at;
        while bytes.get(at).is_some_and(|byte| *byte != mark && *byte != b'\n') {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        let end = at.min(bytes.len());
        at = end + 1;
        let next = bytes.get(at..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
        if next != Some(&b':') && text.is_char_boundary(end) {
            kept.push(start..end);
        }
    }
    kept
}

/// Of each line or field what follows its name, its number or its bullet.
fn named(text: &str) -> Vec<Range<usize>> {
    let mut kept = Vec::new();
    let mut start = 0;
    for field in text.split_inclusive(['\n', '&', ';', ',']) {
        let begin = start;
        start += field.len();
        let name = match field.find([':', '=']) {
            Some(sign) => sign + 1,
            None => number_or_bullet(field),
        };
        kept.push(begin + name..start);
    }
    kept
}

fn number_or_bullet(line: &str) -> usize {
    let bare = line.trim_start_matches([' ', '\t', '-', '*', '•', '#', '>', '(', '[']);
    let rest = bare.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_number = rest.len() < bare.len() && rest.starts_with(['.', ')', ']', ' ', '\t', '|']);
    line.len() - if is_number { rest.len() } else { bare.len() }
}

fn last_words(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut kept = Vec::new();
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        let word = text[start..end].rfind(char::is_whitespace).map_or(start, |space| start + space);
        kept.push(word..end);
        start += line.len();
    }
    kept
}

fn untagged(text: &str) -> Vec<Range<usize>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while let Some(tag) = text[at..].find('<') {
        kept.push(at..at + tag);
        let Some(end) = text[at + tag..].find('>') else { return kept };
        at += tag + end + 1;
    }
    // Where there is none it is the text itself.
    if at > 0 {
        kept.push(at..text.len());
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(view: &str) -> String {
        view.chars().filter(|c| c.is_alphanumeric()).collect()
    }

    #[test]
    fn what_stands_around_pieces_is_not_in_them() {
        for text in [
            "{\"a\": \"ab\", \"b\":\"cd\",\"c\":[\"ef\"]}",
            "a='ab'; b='cd'; say(a+b, `ef`)",
            "a=ab&b=cd&c=ef",
            "X-A: ab\r\nX-B: cd\r\nX-C: ef\r\n",
            "1. ab\n2. cd\n3. ef",
            " - ab\n - cd\n * ef",
            "first ab\nthen  cd\nand last ef\n",
            "<p>ab</p><p class=x>cd<b>ef</b>",
            "10 ab\n20 cd\n30 ef",
        ] {
            let views: Vec<String> = views(text).map(|(view, _)| letters(&view)).collect();
            assert!(views.iter().any(|view| view == "abcdef"), "{text}: {views:?}");
        }
        assert_eq!(views("one word").count(), 0);
    }

    proptest! {
        #[test]
        fn places_are_those_of_the_text(text in "(\\PC|[\"'<>\\\\:=\n]){0,60}") {
            for (view, kept) in views(&text) {
                prop_assert!(kept.is_sorted_by(|a, b| a.end <= b.start), "{:?}", kept);
                prop_assert!(view.len() <= text.len());
                for (at, c) in view.char_indices().filter(|(_, c)| *c != ' ') {
                    prop_assert!(text[at..].starts_with(c));
                }
            }
        }
    }
}
