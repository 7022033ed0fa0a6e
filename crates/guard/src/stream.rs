//! A text that comes in parts and is passed on as it comes: the end is held back for as long as
//! something to be found may begin in it.

use zeroize::Zeroizing;

use crate::inspect::{Inspected, Inspector, Raw};
use crate::taint::Trail;

/// Bytes held back for what needs no registry: the longest tokens, an instruction's sentence.
pub const LEAST_HELD: usize = 512;
/// Most bytes held back: what is longer passes in parts, each inspected.
pub const MOST_HELD: usize = 64 * 1024;

/// A text in parts.
#[derive(Debug)]
pub struct Stream<'a> {
    inspector: &'a Inspector,
    held: Zeroizing<String>,
    trail: Trail,
}

impl<'a> Stream<'a> {
    /// One that is inspected by this inspector.
    #[must_use]
    pub fn new(inspector: &'a Inspector) -> Self {
        Self { inspector, held: Zeroizing::default(), trail: Trail::default() }
    }

    /// Takes the next part; answers what may be decided about now, if anything is. What it finds
    /// is whole: nothing that begins in what is answered ends in what is held.
    pub fn push(&mut self, part: &str) -> Option<Inspected> {
        self.held.push_str(part);
        // A value may be written with something between each two letters.
        let hold = (self.inspector.longest() * 4).clamp(LEAST_HELD, MOST_HELD);
        // A little more, so that small parts are not inspected one by one.
        if self.held.len() <= hold + hold / 2 {
            return None;
        }
        let mut cut = self.held.floor_char_boundary(self.held.len() - hold);
        let seen = self.inspector.inspect(Raw::new(self.held.to_string()));
        // What reaches over the cut stays, unless it is longer than anything is held.
        for finding in seen.findings().iter().rev() {
            if finding.span.start < cut && finding.span.end > cut {
                cut = finding.span.start;
            }
        }
        if cut == 0 {
            if self.held.len() <= MOST_HELD {
                return None;
            }
            cut = self.held.floor_char_boundary(self.held.len() - hold);
        }
        let rest = Zeroizing::new(self.held.split_off(cut));
        let ready = core::mem::replace(&mut self.held, rest);
        Some(self.pass(ready.to_string()))
    }

    /// The rest of the text.
    pub fn finish(mut self) -> Inspected {
        let rest = core::mem::take(&mut *self.held);
        self.pass(rest)
    }

    fn pass(&mut self, text: String) -> Inspected {
        self.inspector.inspect_next(Raw::new(text), &mut self.trail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Category, Registry};

    #[test]
    fn a_value_in_parts_is_found_whole_wherever_it_is_cut() {
        let value = "k3Yq-Zt91-pLm4-wXyZ";
        let mut registry = Registry::new([1; 32]);
        registry.add(value).unwrap();
        let inspector = Inspector::with_registry(registry);
        // Every place at which a cut may fall within the value.
        for (size, before) in
            [100, 1999].into_iter().flat_map(|size| (0..320).step_by(8).map(move |before| (size, before)))
        {
            let filler = "all is well. ".repeat(60);
            let text = format!("{}{filler}{value}{filler}{filler}", "-".repeat(before));
            let mut stream = Stream::new(&inspector);
            let mut passed: Vec<Inspected> = Vec::new();
            for part in text.as_bytes().chunks(size) {
                passed.extend(stream.push(std::str::from_utf8(part).unwrap()));
            }
            passed.push(stream.finish());
            assert_eq!(passed.iter().map(Inspected::text).collect::<String>(), text);
            let whole = passed.iter().any(|inspected| {
                let mut taints = inspected.findings().iter().filter(|f| f.category == Category::Taint);
                taints.any(|finding| &inspected.text()[finding.span.clone()] == value)
            });
            assert!(whole, "in parts of {size} behind {before}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let inspector = Inspector::default();
        let mut stream = Stream::new(&inspector);
        let key = "-----BEGIN PRIVATE KEY-----\n";
        stream.push(key);
        for _ in 0..200 {
            stream.push(&"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(32));
            assert!(stream.held.len() <= MOST_HELD + 2048, "{}", stream.held.len());
        }
    }
}
