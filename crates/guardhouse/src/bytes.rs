//! A payload as a text. Bytes that are no UTF-8 stand as one replacement character each, and places in
//! the text lead back to places in the payload.

use core::ops::Range;

use zeroize::Zeroizing;

/// A payload and its text.
pub struct Decoded {
    /// What is looked at.
    pub text: Zeroizing<String>,
    /// Where pieces begin: in the text, and in the payload. Within a piece both go on alike, but a
    /// replaced byte is a piece of its own.
    pieces: Vec<(usize, usize)>,
    length: usize,
}

impl Decoded {
    /// Of this payload.
    pub fn of(payload: &[u8]) -> Self {
        let (mut text, mut pieces, mut at) = (Zeroizing::new(String::new()), Vec::new(), 0);
        for chunk in payload.utf8_chunks() {
            pieces.push((text.len(), at));
            text.push_str(chunk.valid());
            at += chunk.valid().len();
            for _ in chunk.invalid() {
                pieces.push((text.len(), at));
                text.push(char::REPLACEMENT_CHARACTER);
                at += 1;
            }
        }
        Self { text, pieces, length: payload.len() }
    }

    /// Where in the payload a span of the text lies.
    pub fn origin(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.place(span.start);
        // The end is behind the last byte of what is before it.
        let end = if span.end == span.start { start } else { self.place(span.end - 1) + 1 };
        start..end.clamp(start, self.length)
    }

    fn place(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(begin, _)| *begin <= at).saturating_sub(1);
        let Some(&(begin, origin)) = self.pieces.get(piece) else { return 0 };
        let last = self.pieces.get(piece + 1).map_or(self.length, |(_, next)| *next);
        (origin + (at - begin)).min(last.saturating_sub(1).max(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_lead_back_past_what_is_no_text() {
        let decoded = Decoded::of(b"a\xff\xfe key-1 \xc3\xa9 b");
        let at = decoded.text.find("key-1").unwrap();
        assert_eq!(decoded.origin(&(at..at + 5)), 4..9);
        let at = decoded.text.find('\u{e9}').unwrap();
        assert_eq!(decoded.origin(&(at..at + 2)), 10..12);
        assert_eq!(decoded.origin(&(0..decoded.text.len())), 0..14);
    }

    proptest! {
        #[test]
        fn every_span_leads_into_the_payload_and_text_stays_what_it_is(
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            (a, b) in (0usize..200, 0usize..200),
        ) {
            let decoded = Decoded::of(&payload);
            let (start, end) = (a.min(b).min(decoded.text.len()), a.max(b).min(decoded.text.len()));
            let span = decoded.origin(&(start..end));
            prop_assert!(span.start <= span.end && span.end <= payload.len());
            if let Ok(text) = core::str::from_utf8(&payload) {
                prop_assert_eq!(text, decoded.text.as_str());
                if start < end {
                    prop_assert_eq!(span, start..end);
                }
            }
        }
    }
}
