//! Values that are cut into pieces with something else between them, in any order.
//!
//! Nothing is looked for but values of which a text holds the head, or the head of the second half, so far that it
//! counts ([`Starts`]). Of such a value all common runs with the texts are taken together. They are the value where
//! they cover nearly all of it, and where texts of this length would not do so by chance.

use core::ops::Range;
use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::{Folded, Form, GRAM, Needle, Registry, TaintId};

/// Canonical letters from which a value is found in pieces.
pub(super) const LEAST_PIECED: usize = 10;
/// Least letters of a piece.
const LEAST_PIECE: usize = 4;
/// Least letters of what is left at last.
const LEAST_REST: usize = 3;
/// Values that may be in pieces, of one text and of a channel.
const MOST_STARTS: usize = 64;
/// Letters that one text is gone over for all of them together.
const MOST_SCANNED: usize = 1 << 22;
/// Places of one value's pieces that are told.
const MOST_PLACES: usize = 256;
/// Places of one value's pieces that are looked at.
const MOST_RUNS: usize = 4096;
/// How unlikely, in bits, it has to be that a text holds them by chance.
const MARGIN: f64 = 20.0;

/// Values of which a text holds a head, and how many letters of it.
#[derive(Debug, Default)]
pub struct Starts {
    found: Vec<(usize, usize)>,
    /// Letters that another must have more of, once there are as many as may be.
    passed_over: usize,
}

impl Starts {
    /// Notes that so many letters of a needle's head stand in a text.
    pub(super) fn note(&mut self, needle: usize, run: usize) {
        if run <= self.passed_over {
            return;
        }
        if let Some(known) = self.found.iter_mut().find(|(known, _)| *known == needle) {
            known.1 = known.1.max(run);
        } else if self.found.len() < MOST_STARTS {
            self.found.push((needle, run));
        } else if let Some(least) = self.found.iter_mut().min_by_key(|(_, run)| *run) {
            self.passed_over = least.1;
            if least.1 < run {
                *least = (needle, run);
            }
        }
    }
}

/// What was said of a value in a channel so far.
struct Said {
    needle: usize,
    covered: Vec<Range<usize>>,
    /// Bits that its pieces would be there by chance.
    chance: f64,
}

/// The values of which pieces were said in a channel; the oldest make room.
#[derive(Default)]
pub struct Before(VecDeque<Said>);

impl core::fmt::Debug for Before {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Before({} values)", self.0.len())
    }
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of which.
    pub id: TaintId,
    /// In which of the texts.
    pub text: usize,
    /// The canonical letters that it takes there.
    pub letters: Range<usize>,
}

/// A run of letters that a text has in common with a value.
#[derive(Clone, Debug)]
struct Run {
    text: usize,
    at: usize,
    /// Where in the value.
    own: usize,
    length: usize,
}

/// Heads of a value's pieces, by their letters: they are looked up at each place of a text.
struct Heads {
    filter: [u64; 64],
    places: Zeroizing<Vec<(u32, u32)>>,
}

impl Heads {
    fn of(own: &[u8]) -> Self {
        let (mut filter, mut places) = ([0; 64], Zeroizing::new(Vec::with_capacity(own.len())));
        for (place, head) in own.windows(LEAST_PIECE).enumerate() {
            let head = number(head);
            let bit = bit(head);
            filter[bit >> 6] |= 1 << (bit & 63);
            places.push((head, u32::try_from(place).unwrap_or(u32::MAX)));
        }
        places.sort_unstable();
        Self { filter, places }
    }

    /// Where in the value these letters stand.
    fn places(&self, head: &[u8]) -> impl Iterator<Item = usize> {
        let head = number(head);
        let bit = bit(head);
        let known = self.filter[bit >> 6] >> (bit & 63) & 1 == 1;
        let from = if known { self.places.partition_point(|(other, _)| *other < head) } else { usize::MAX };
        let there = self.places.get(from..).unwrap_or_default().iter();
        there.take_while(move |(other, _)| *other == head).map(|(_, place)| *place as usize)
    }

    /// The longest runs in a text, but what a message before has all of.
    fn runs(&self, own: &[u8], (text, folded): (usize, &Folded<'_>), runs: &mut Vec<Run>) {
        let letters = folded.letters();
        let mut at = folded.carried().saturating_sub(own.len());
        while at + LEAST_PIECE <= letters.len() && runs.len() < MOST_RUNS {
            let longest = self
                .places(&letters[at..at + LEAST_PIECE])
                .map(|place| (common(&own[place..], &letters[at..]), place))
                .max_by_key(|(length, _)| *length);
            let Some((length, place)) = longest else {
                at += 1;
                continue;
            };
            if at + length > folded.carried() {
                runs.push(Run { text, at, own: place, length });
            }
            // The next piece may begin with what this one ends with by chance.
            at += length - (LEAST_PIECE - 1);
        }
    }
}

fn number(head: &[u8]) -> u32 {
    head.iter().fold(0, |number, letter| number << 8 | u32::from(*letter))
}

const fn bit(head: u32) -> usize {
    (head.wrapping_mul(0x9e37_79b1) >> 20) as usize
}

/// How many letters both begin with.
pub(super) fn common(own: &[u8], there: &[u8]) -> usize {
    own.iter().zip(there).take_while(|(a, b)| a == b).count()
}

fn log2(count: usize) -> f64 {
    f64::from(u32::try_from(count.max(2)).unwrap_or(u32::MAX)).log2()
}

/// A value that is put together.
struct Cover<'a> {
    own: &'a [u8],
    covered: Vec<bool>,
    chance: f64,
    /// Least letters of a piece that stands there rather by intent than by chance.
    least: usize,
    /// Bits of a piece's place, and of a letter.
    of_place: f64,
    of_letter: f64,
    fresh: usize,
}

impl<'a> Cover<'a> {
    fn new(own: &'a [u8], said: Option<&Said>, length: usize) -> Self {
        let mut covered = vec![false; own.len()];
        for range in said.map(|said| said.covered.as_slice()).unwrap_or_default() {
            covered.get_mut(range.clone()).unwrap_or_default().fill(true);
        }
        let mut kinds = [false; 256];
        own.iter().for_each(|letter| kinds[usize::from(*letter)] = true);
        let of_letter = log2(kinds.iter().filter(|is_there| **is_there).count());
        let of_place = log2(length);
        let least = ((of_place / of_letter).ceil() as usize).max(LEAST_PIECE);
        let chance = said.map_or(0.0, |said| said.chance);
        Self { own, covered, chance, least, of_place, of_letter, fresh: 0 }
    }

    fn take(&mut self, run: &Run) {
        self.covered[run.own..run.own + run.length].fill(true);
        self.chance += self.of_place;
        self.fresh += 1;
    }

    /// Takes what adds to it.
    fn add(&mut self, run: &Run) {
        let new = self.covered[run.own..run.own + run.length].iter().filter(|is_there| !**is_there).count();
        if new >= self.least {
            self.take(run);
        }
    }

    /// Where there is nothing of it yet.
    fn gaps(&self) -> Vec<Range<usize>> {
        ranges(&self.covered, false)
    }

    fn is_complete(&self) -> bool {
        let count = self.covered.iter().filter(|is_there| **is_there).count();
        let known = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * self.of_letter;
        self.fresh > 0 && count * 10 >= self.own.len() * 9 && known - self.chance >= MARGIN
    }
}

/// Where these are so.
fn ranges(marks: &[bool], wanted: bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for at in marks.iter().enumerate().filter(|(_, mark)| **mark == wanted).map(|(at, _)| at) {
        match ranges.last_mut().filter(|range| range.end == at) {
            Some(last) => last.end += 1,
            None => ranges.push(at..at + 1),
        }
    }
    ranges
}

impl Registry {
    /// How many letters of a needle's head, and of what follows it in its value, there must be.
    pub(super) fn counts(&self, needle: usize, run: usize) -> Option<usize> {
        let whole = self.whole(needle)?;
        let length = self.needles[whole].length();
        // Longer ones begin alike, or are cut into more pieces.
        let least = (length / 5).clamp(GRAM, 2 * GRAM);
        (length >= LEAST_PIECED && run >= least).then_some(whole)
    }

    /// The needle that has all letters of this one's value, in its way of writing.
    fn whole(&self, needle: usize) -> Option<usize> {
        let Needle { id, form, .. } = self.needles[needle];
        match form {
            Form::Itself | Form::Backwards | Form::Exchanged => Some(needle),
            Form::Half | Form::Later => {
                let rest = self.needles.get(needle..)?.iter().take_while(|other| other.id == id);
                rest.clone().position(|other| other.form == Form::Itself).map(|at| needle + at)
            }
        }
    }

    /// The pieces of values in these texts, which stand together in one, of values that they make whole: with what
    /// was said before.
    pub fn pieces(&self, starts: &Starts, texts: &[Folded<'_>], before: &mut Before) -> Vec<Piece> {
        if starts.found.is_empty() && before.0.is_empty() {
            return Vec::new();
        }
        let length: usize = texts.iter().map(|text| text.letters().len()).sum();
        let mut wanted: Vec<usize> = before.0.iter().rev().map(|said| said.needle).collect();
        // A channel has one registry, and values stay in it.
        wanted.retain(|needle| *needle < self.needles.len());
        let mut found: Vec<(usize, usize)> =
            starts.found.iter().filter(|(needle, _)| !wanted.contains(needle)).copied().collect();
        found.sort_by_key(|(_, run)| core::cmp::Reverse(*run));
        wanted.extend(found.into_iter().map(|(needle, _)| needle));
        let mut pieces = Vec::new();
        for needle in wanted.into_iter().take((MOST_SCANNED / length.max(1)).max(1)) {
            self.pieces_of(needle, texts, length, before, &mut pieces);
        }
        pieces
    }

    fn pieces_of(
        &self,
        needle: usize,
        texts: &[Folded<'_>],
        length: usize,
        before: &mut Before,
        pieces: &mut Vec<Piece>,
    ) {
        let own = self.written(needle);
        let heads = Heads::of(&own);
        let mut runs = Vec::new();
        for text in texts.iter().enumerate() {
            heads.runs(&own, text, &mut runs);
        }
        // What stands there whole was found as that.
        runs.retain(|run| run.length < own.len());
        runs.sort_by_key(|run| core::cmp::Reverse(run.length));
        let said = before.0.iter().position(|said| said.needle == needle);
        let mut cover = Cover::new(&own, said.map(|at| &before.0[at]), length);
        runs.iter().for_each(|run| cover.add(run));
        if cover.fresh == 0 {
            return;
        }
        let mut told = runs;
        told.retain(|run| run.length >= cover.least);
        let known = (ranges(&cover.covered, true), cover.chance);
        for gap in cover.gaps() {
            if (LEAST_REST..cover.least).contains(&gap.len())
                && let Some(run) = rest(&own, &gap, texts)
            {
                cover.take(&run);
                told.push(run);
            }
        }
        let is_whole = cover.is_complete();
        let parts = told.len() + said.map_or(0, |at| before.0[at].covered.len());
        if is_whole && parts > 1 {
            // What completes it is not said, or is told who may read it.
            let id = self.needles[needle].id;
            let piece = |run: Run| Piece { id, text: run.text, letters: run.at..run.at + run.length };
            pieces.extend(told.into_iter().take(MOST_PLACES).map(piece));
            return;
        }
        let (covered, chance) = known;
        if let Some(at) = said {
            before.0.remove(at);
        } else if before.0.len() >= MOST_STARTS {
            before.0.pop_front();
        }
        before.0.push_back(Said { needle, covered, chance });
    }

    /// A needle's letters as they are written.
    fn written(&self, needle: usize) -> Zeroizing<Vec<u8>> {
        let needle = self.needles[needle];
        let mut letters = Zeroizing::new(self.rooms.letters.bytes()[needle.place()].to_vec());
        match needle.form {
            Form::Backwards => letters.reverse(),
            Form::Itself | Form::Half | Form::Later | Form::Exchanged => {}
        }
        letters
    }
}

/// Where the rest of a value stands.
fn rest(own: &[u8], gap: &Range<usize>, texts: &[Folded<'_>]) -> Option<Run> {
    let wanted = &own[gap.clone()];
    texts.iter().enumerate().find_map(|(text, folded)| {
        let letters = &folded.letters()[folded.carried()..];
        let at = letters.windows(wanted.len()).position(|there| there == wanted)?;
        Some(Run { text, at: folded.carried() + at, own: gap.start, length: gap.len() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "tk_live_k3YqZt91pLm4wXyZ7bNc2vGh";
    const CARD: &str = "4929 1846 0273 5518";

    fn registry(values: &[&str]) -> Registry {
        let mut registry = Registry::new([7; 32]);
        for value in values {
            registry.add(value).unwrap();
        }
        registry
    }

    /// What of a text is told to be a piece, in its order.
    fn told<'a>(registry: &Registry, text: &'a str, before: &mut Before) -> Vec<&'a str> {
        let folded = [Folded::new(text)];
        let (mut starts, mut hits) = (Starts::default(), Vec::new());
        registry.search(&folded[0], &mut hits, &mut starts);
        let mut pieces = registry.pieces(&starts, &folded, before);
        pieces.sort_by_key(|piece| piece.letters.start);
        pieces.iter().map(|piece| &text[folded[0].span(&piece.letters)]).collect()
    }

    #[test]
    fn each_piece_is_told_in_whatever_order() {
        let registry = registry(&[TOKEN, CARD, "r8Dn-Vu56-hJq2"]);
        for (text, pieces) in [
            ("a=tk_live_k3Yq&b=Zt91pLm4wX&c=yZ7bNc2vGh.", vec!["tk_live_k3Yq", "Zt91pLm4wX", "yZ7bNc2vGh"]),
            (
                "first wXyZ7bNc2vGh, before it k3YqZt91pLm4, it begins with tk_live_",
                vec!["wXyZ7bNc2vGh", "k3YqZt91pLm4", "tk_live"],
            ),
            ("4929 1846 and 0273 5518", vec!["4929 1846", "0273 5518"]),
            ("r8Dn-Vu56 goes on with hJq2", vec!["r8Dn-Vu56", "hJq2"]),
            ("hJq2 stands behind r8Dn-Vu56", vec!["hJq2", "r8Dn-Vu56"]),
            ("r8D/ Vu56-hJq2 and n before", vec![]),
        ] {
            assert_eq!(told(&registry, text, &mut Before::default()), pieces, "{text}");
        }
    }

    #[test]
    fn what_is_there_by_chance_or_in_part_is_no_value() {
        let registry = registry(&[TOKEN, CARD, "administrator-7", "r8Dn-Vu56-hJq2"]);
        let numbers: String =
            (0..60_000u32).map(|n| format!("{:06}\n", n.wrapping_mul(7919) % 1_000_000)).collect();
        for text in [
            "the key is tk_live_k3Yq... (ends in 2vGh)",
            "the administrator said so, 7 times",
            "r8Dn-Vu56-hJq",
            "all of r8Dn-Vu56, and more of r8Dn-Vu56",
            numbers.as_str(),
        ] {
            assert!(
                told(&registry, text, &mut Before::default()).is_empty(),
                "{}",
                &text[..20.min(text.len())]
            );
        }
    }

    #[test]
    fn the_message_that_completes_one_is_told_of_however_often_it_comes() {
        let registry = registry(&[TOKEN]);
        let mut before = Before::default();
        assert!(told(&registry, "take k3YqZt and tk_live_k3YqZt first", &mut before).is_empty());
        assert!(told(&registry, "nothing here, and nothing of it there", &mut before).is_empty());
        assert!(told(&registry, "then 91pLm4wX", &mut before).is_empty());
        for _ in 0..2 {
            assert_eq!(told(&registry, "yZ7bNc2vGh is the end", &mut before), ["yZ7bNc2vGh"]);
            assert!(told(&registry, "nothing here, and nothing of it there", &mut before).is_empty());
        }
        let name = |number: u64| format!("w{:016x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut many, mut before) = (Registry::new([7; 32]), Before::default());
        for number in 0..200 {
            many.add(&name(number)).unwrap();
            told(&many, &format!("see {} there", &name(number)[..8]), &mut before);
        }
        assert_eq!(before.0.len(), MOST_STARTS);
    }
}
