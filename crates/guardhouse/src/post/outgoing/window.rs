//! Bodies, window by window: the end is kept back for as long as something to be found may begin in it.

use sessile_guard::MOST_HELD;
use sessile_model::guarding::outgoing::MOST_KEPT;

use super::*;

/// Least bytes of text that are kept back.
const LEAST_KEPT: usize = 2048;

impl Post {
    /// What a window of a body holds, and how much of it may go. Of the last everything may. What goes by this way
    /// follows what went by it before.
    pub(super) fn look_at_window(
        &mut self,
        shown: &Shown,
        way: (String, String),
        (content, is_last): (&[u8], bool),
        at_ms: u64,
    ) -> Looked {
        let decoded = Decoded::of(content);
        let length = decoded.text.len();
        let mut trail = self.trails.remove(&way).unwrap_or_default();
        let mut findings: Vec<Finding>;
        let mut cut = length;
        if is_last {
            let inspected = self.inspector.inspect_next(Raw::new(decoded.text.to_string()), &mut trail);
            findings = inspected.findings().to_vec();
        } else {
            let inspected = self.inspector.inspect(Raw::new(decoded.text.to_string()));
            findings = inspected.findings().to_vec();
            leave_out_noise(&decoded.text, &mut findings);
            cut = kept_from(&decoded.text, &findings, self.inspector.longest());
            if cut > 0 {
                // What goes now follows what went before.
                let gone = Raw::new(decoded.text[..cut].to_owned());
                let inspected = self.inspector.inspect_next(gone, &mut trail);
                findings.extend(inspected.findings().iter().filter(|f| f.taint.is_some()).cloned());
            }
        }
        look_at_fields(&self.inspector, &decoded.text, &mut findings);
        leave_out_noise(&decoded.text, &mut findings);
        self.make_room_for_trail();
        self.trails.insert(way, trail);
        let mut looked = self.known_there(shown, &decoded, &findings, |_| false);
        self.count(&findings, &looked, &decoded, at_ms);
        looked.clear = decoded.origin(&(0..cut)).end;
        looked
    }
}

/// Leaves out instructions that nobody could read: of what programs and pictures are made up, the model makes words.
fn leave_out_noise(text: &str, findings: &mut Vec<Finding>) {
    let is_noise = |c: &char| *c == char::REPLACEMENT_CHARACTER || c.is_control() && !c.is_whitespace();
    findings.retain(|finding| {
        let part = text.get(finding.span.start..finding.span.end).unwrap_or_default();
        let noise = part.chars().filter(is_noise).count();
        finding.category != Category::Injection || noise * 4 <= part.chars().count()
    });
}

/// Where in a text begins what is kept back.
fn kept_from(text: &str, findings: &[Finding], longest: usize) -> usize {
    // A value may be written with something between each two letters.
    let hold = (longest * 4).clamp(LEAST_KEPT, MOST_HELD.min(MOST_KEPT) / 2);
    if text.len() <= hold {
        return 0;
    }
    let most = text.floor_char_boundary(text.len() - hold);
    let mut cut = most;
    for finding in findings.iter().rev() {
        if finding.span.start < cut && finding.span.end > cut {
            cut = text.floor_char_boundary(finding.span.start);
        }
    }
    // What is longer than anything is kept passes in parts, each looked at.
    if text.len() - cut > MOST_KEPT { most } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let text = "ab".repeat(60_000);
        assert_eq!(kept_from(&text[..LEAST_KEPT], &[], 0), 0);
        assert_eq!(kept_from(&text, &[], 0), text.len() - LEAST_KEPT);
        for longest in [0, 100, 10_000, 1_000_000] {
            for length in (0..text.len()).step_by(4111) {
                let cut = kept_from(&text[..length], &[], longest);
                assert!(length - cut <= MOST_KEPT, "{length} of {longest}");
            }
        }
        let accents = "\u{e9}".repeat(3000);
        assert!(accents.is_char_boundary(kept_from(&accents, &[], 0)));
    }
}
