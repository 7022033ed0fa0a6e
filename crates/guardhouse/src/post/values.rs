//! The values that a guard knows. Their texts lie in memory that it is lent; who may read them beside it.

use core::ops::Range;
use std::collections::{BTreeSet, HashMap};

use sessile_guard::{Registry, Room, TaintId};
use sessile_model::guarding::{MOST_VALUE_BYTES, MOST_VALUES, Value};
use zeroize::Zeroizing;

/// What is known of a value.
#[derive(Clone, Debug)]
pub struct Known {
    place: Range<usize>,
    /// From 3, highly sensitive, to 4, critical.
    pub confidentiality: u8,
    /// Who said it first.
    pub owner: String,
    /// Who was told it.
    pub readers: BTreeSet<String>,
}

/// All of them.
pub struct Values {
    room: Box<dyn Room>,
    taken: usize,
    known: HashMap<TaintId, Known>,
    /// Their names, by the names of their letters and digits alone.
    spellings: HashMap<TaintId, TaintId>,
}

impl Values {
    /// None yet; what comes lies in this room.
    pub fn within(room: Box<dyn Room>) -> Self {
        Self { room, taken: 0, known: HashMap::new(), spellings: HashMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// The one of this name.
    pub fn get(&self, id: TaintId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// What is known of all of them.
    pub fn known(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// Its text, as it was found first.
    pub fn text(&self, known: &Known) -> &str {
        let bytes = self.room.bytes().get(known.place.clone()).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The one that has the letters and digits of this text.
    pub fn spelled(&self, registry: &Registry, text: &str) -> Option<&Known> {
        self.known.get(self.spellings.get(&registry.id(&letters(text)))?)
    }

    /// Remembers a value, or what is known of one now, unless there is no room.
    pub fn remember(&mut self, registry: &mut Registry, value: Value) {
        let text = value.value.0.as_str();
        let spelling = registry.id(&letters(text));
        let id = self.spellings.get(&spelling).copied().unwrap_or_else(|| registry.id(text));
        let place = match self.known.get(&id) {
            Some(known) => known.place.clone(),
            None => {
                let place = self.taken..self.taken + text.len();
                let is_room = self.known.len() < MOST_VALUES && place.end <= MOST_VALUE_BYTES;
                if !is_room || !self.room.grow(place.end) {
                    return;
                }
                self.room.bytes_mut()[place.clone()].copy_from_slice(text.as_bytes());
                self.taken = place.end;
                self.spellings.insert(spelling, id);
                // One that cannot be told from other text is known again where it is found by its form.
                let _ = registry.add(text);
                place
            }
        };
        let Value { value: _, confidentiality, ref owner, ref readers } = value;
        let known = Known { place, confidentiality, owner: owner.clone(), readers: readers.clone() };
        self.known.insert(id, known);
    }
}

fn letters(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect())
}
