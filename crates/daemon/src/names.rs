//! Names for sessions whose openers give none: an adjective and a noun.

use sessile_model::SessionName;

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "ample", "azure", "balmy", "bold", "brave", "brisk", "calm", "civil", "clear", "coral",
    "cosy", "crisp", "dapper", "deft", "early", "easy", "eager", "fair", "fleet", "fond", "frank", "fresh",
    "gentle", "giddy", "glad", "golden", "grand", "happy", "hardy", "humble", "ivory", "jolly", "keen",
    "kind", "lively", "lucid", "lunar", "mellow", "merry", "mild", "misty", "modest", "nimble", "noble",
    "olive", "placid", "plain", "plucky", "proud", "quiet", "rapid", "rosy", "sandy", "silent", "silver",
    "snug", "solar", "sturdy", "sunny", "tidy", "vivid", "witty",
];

const NOUNS: [&str; 64] = [
    "anemone", "badger", "barnacle", "beaver", "bittern", "bream", "bunting", "clam", "condor", "coral",
    "cowrie", "crane", "cricket", "curlew", "dolphin", "dormouse", "dunlin", "egret", "ermine", "falcon",
    "ferret", "finch", "gannet", "gecko", "grebe", "grouse", "heron", "hoopoe", "hydra", "ibis", "kestrel",
    "lark", "limpet", "linnet", "lynx", "magpie", "marmot", "marten", "merlin", "mussel", "newt", "oriole",
    "osprey", "otter", "oyster", "petrel", "pipit", "plover", "puffin", "quail", "raven", "robin", "seal",
    "shrew", "siskin", "sponge", "starling", "stoat", "swift", "teal", "thrush", "urchin", "vole", "wren",
];

/// A name that is not taken, chosen by these random numbers. After eight that are taken, a
/// number is added.
pub fn invent(random: [u32; 8], taken: impl Fn(&SessionName) -> bool) -> Option<SessionName> {
    let plain = random.iter().map(|&r| pair(r));
    let numbered = random.iter().map(|&r| format!("{}-{}", pair(r), r >> 12 & 0xfff));
    plain.chain(numbered).filter_map(|text| text.parse().ok()).find(|name| !taken(name))
}

fn pair(random: u32) -> String {
    let adjective = ADJECTIVES[random as usize % ADJECTIVES.len()];
    let noun = NOUNS[(random >> 6) as usize % NOUNS.len()];
    format!("{adjective}-{noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_a_name() {
        for random in 0..4096u32 {
            assert!(pair(random).parse::<SessionName>().is_ok(), "{}", pair(random));
        }
    }

    #[test]
    fn taken_names_are_passed_over() {
        let first = invent([5; 8], |_| false).unwrap();
        let second = invent([5, 6, 5, 5, 5, 5, 5, 5], |n| *n == first).unwrap();
        assert_ne!(first, second);
        let numbered = invent([5 | 7 << 12; 8], |n| *n == first).unwrap();
        assert_eq!(numbered.as_str(), format!("{first}-7"));
        assert_eq!(invent([1; 8], |_| true), None);
    }
}
