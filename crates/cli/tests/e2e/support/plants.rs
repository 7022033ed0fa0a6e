//! Random patterns planted wherever a session's data can be, and looked for afterwards.
//!
//! Every plant has a pattern of its own, so that a hit tells which plant it is, whatever way it
//! took. The test holds patterns masked and hands them over masked; `canary/plant.py` unmasks
//! them where they belong.

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;

use sessile_sandbox::wipe::{Canary, Encoding, Hit};

use super::World;

const RAW: &[Encoding] = &[Encoding::Raw];
const HEX: &[Encoding] = &[Encoding::Hex];
const TEXT: &[Encoding] = &[Encoding::Base64, Encoding::Hex];
const ALL: &[Encoding] = &Encoding::ALL;

/// Where a plant lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// In an app's memory.
    Memory,
    /// In a memfd or an unlinked file that an app holds open.
    OpenFile,
    /// On session storage.
    Storage,
    /// In a ring, or another memory file, that the anchor holds.
    Ring,
    /// In our own programs or in files outside the session.
    Elsewhere,
}

/// A kind of plant.
#[derive(Debug)]
pub struct Plant {
    /// Its name in the planting script, too.
    pub name: &'static str,
    encodings: &'static [Encoding],
    homes: &'static [Home],
    /// What the receipt calls it when it cannot be overwritten: as root, and as another user.
    pub residue: (Option<&'static str>, Option<&'static str>),
}

impl Plant {
    const fn new(name: &'static str, encodings: &'static [Encoding], homes: &'static [Home]) -> Self {
        Self { name, encodings, homes, residue: (None, None) }
    }

    const fn stays(self, as_root: Option<&'static str>, as_user: Option<&'static str>) -> Self {
        Self { residue: (as_root, as_user), ..self }
    }

    /// Whether the script plants it; others come into the session by other ways.
    pub fn is_planted_by_script(&self) -> bool {
        !matches!(self.name, "environment" | "typed" | "label" | "argument" | "line")
    }

    /// What the receipt of this world calls it, if it stays.
    pub fn residue_in(&self, world: &World) -> Option<&'static str> {
        if world.is_root() { self.residue.0 } else { self.residue.1 }
    }
}

/// Every plant.
pub const PLANTS: [Plant; 18] = {
    use Home::{Elsewhere, Memory, OpenFile, Ring, Storage};
    const SEALED: Option<&str> = Some("sealed memfds");
    const NAMES: Option<&str> = Some("names and attributes");
    [
        Plant::new("heap", ALL, &[Memory]),
        Plant::new("environment", HEX, &[Memory]),
        Plant::new("shared", ALL, &[Memory]),
        Plant::new("read-only", ALL, &[Memory]),
        Plant::new("no-access", RAW, &[Memory]),
        Plant::new("shared-read-only", RAW, &[Memory]).stays(None, Some("read-only shared memory")),
        Plant::new("home", ALL, &[Storage]),
        Plant::new("temporary", RAW, &[Storage]),
        // Names cannot be overwritten: they go when the storage does.
        Plant::new("name", HEX, &[Storage]).stays(NAMES, NAMES),
        Plant::new("unlinked", ALL, &[OpenFile]),
        Plant::new("memfd", ALL, &[OpenFile]),
        Plant::new("sealed", RAW, &[OpenFile]).stays(SEALED, SEALED),
        Plant::new("terminal", TEXT, &[Ring]),
        Plant::new("typed", HEX, &[Ring]),
        Plant::new("label", HEX, &[Elsewhere]),
        Plant::new("argument", HEX, &[Memory, Elsewhere]),
        Plant::new("piped", HEX, &[Storage, Ring]),
        // Said by the session's protocol, and not heard.
        Plant::new("line", HEX, &[Ring]),
    ]
};

/// A plant that was found, or another trace of a session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The plant's name, or what the trace is.
    pub what: String,
    /// Where.
    pub home: Home,
    /// More for people.
    pub detail: String,
}

impl Finding {
    /// A trace that is no plant.
    pub fn trace(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), home: Home::Elsewhere, detail: detail.into() }
    }

    /// Whether it is of the session's record, which the keeper needs to its end.
    pub fn is_of_the_record(&self) -> bool {
        matches!(&*self.what, "label" | "argument")
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}: {})", self.what, self.home, self.detail)
    }
}

/// One pattern for each of [`PLANTS`].
#[derive(Debug)]
pub struct Patterns(Vec<Canary>);

impl Patterns {
    /// New random ones.
    pub fn new() -> Self {
        Self(PLANTS.iter().map(|_| Canary::new(&mut random())).collect())
    }

    /// The pattern of a plant, in the open.
    pub fn reveal(&self, name: &str) -> Vec<u8> {
        let index = PLANTS.iter().position(|plant| plant.name == name).unwrap();
        self.0[index].reveal(PLANTS[index].encodings[0])
    }

    /// Each pattern and the name of its plant.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Canary)> {
        PLANTS.iter().map(|plant| plant.name).zip(&self.0)
    }

    /// The script's input.
    pub fn masked(&self) -> String {
        let mut lines = String::new();
        for (plant, canary) in PLANTS.iter().zip(&self.0) {
            if !plant.is_planted_by_script() {
                continue;
            }
            for &encoding in plant.encodings {
                let mut pattern = canary.reveal(encoding);
                let mask: Vec<u8> = random::<66>()[..pattern.len()].to_vec();
                pattern.iter_mut().zip(&mask).for_each(|(byte, mask)| *byte ^= mask);
                writeln!(lines, "{} {} {}", plant.name, hex(&pattern), hex(&mask)).unwrap();
            }
        }
        lines
    }

    /// What a search finds of each.
    pub fn find(&self, home: Home, mut search: impl FnMut(&Canary) -> Vec<Hit>) -> Vec<Finding> {
        let mut found = Vec::new();
        for (plant, canary) in PLANTS.iter().zip(&self.0) {
            let hits = search(canary).into_iter();
            found.extend(hits.map(|hit| Finding {
                what: plant.name.to_owned(),
                home,
                detail: hit.to_string(),
            }));
        }
        found
    }

    /// Checks that the search sees every plant, in all its encodings, where it was put.
    #[track_caller]
    pub fn all_are_in(&self, found: &[Finding]) {
        for plant in &PLANTS {
            for (home, encoding) in
                plant.homes.iter().flat_map(|home| plant.encodings.iter().map(move |e| (*home, *e)))
            {
                let is_it = |finding: &&Finding| {
                    finding.what == plant.name
                        && finding.home == home
                        && finding.detail.starts_with(&format!("{encoding:?} "))
                };
                assert!(found.iter().any(|f| is_it(&f)), "no {} in {home:?} as {encoding:?}", plant.name);
            }
        }
    }
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
