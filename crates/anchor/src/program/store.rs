//! Names and the descriptors they stand for.

use std::os::fd::OwnedFd;

use super::held::Held;
use crate::protocol::{Code, MAX_ENTRIES, Name};

/// The first `count` entries are in use.
pub(super) struct Store {
    count: usize,
    names: [Name; MAX_ENTRIES],
    fds: [Held; MAX_ENTRIES],
}

impl Store {
    pub(super) const EMPTY: Self =
        Self { count: 0, names: [Name::EMPTY; MAX_ENTRIES], fds: [const { Held::NONE }; MAX_ENTRIES] };

    /// Entries in use.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The place of a name.
    pub(super) fn find(&self, name: &Name) -> Option<usize> {
        self.names.iter().take(self.count).position(|n| n == name)
    }

    /// The name at a place in use.
    pub(super) fn name(&self, at: usize) -> Option<Name> {
        self.names.iter().take(self.count).nth(at).copied()
    }

    /// The descriptor at a place.
    pub(super) fn fd(&self, at: usize) -> &Held {
        self.fds.get(at).unwrap_or(&Held::NONE)
    }

    /// Adds or replaces.
    pub(super) fn put(&mut self, name: &Name, fd: OwnedFd) -> Code {
        if !name.is_valid() {
            return Code::BadName;
        }
        let at = self.find(name).unwrap_or(self.count);
        let (Some(place), Some(holder)) = (self.names.get_mut(at), self.fds.get_mut(at)) else {
            return Code::StoreFull;
        };
        *place = *name;
        holder.set(fd);
        self.count = self.count.max(at + 1);
        Code::Done
    }

    /// Closes and forgets. The last entry takes the free place.
    pub(super) fn remove(&mut self, name: &Name) -> Code {
        let Some(at) = self.find(name) else { return Code::NotFound };
        let last = self.count - 1;
        self.names.swap(at, last);
        self.fds.swap(at, last);
        self.names[last] = Name::EMPTY;
        self.fds[last].clear();
        self.count = last;
        Code::Done
    }
}
