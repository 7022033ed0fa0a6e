//! A descriptor, or none.

use std::os::fd::{BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};

/// Like `Option<OwnedFd>`, but all zeros when there is none, so that tables of it lie in memory
/// that does not exist before it is used. Standard input is never held.
pub(super) struct Held(RawFd);

impl Held {
    /// None.
    pub(super) const NONE: Self = Self(0);

    /// Holds `fd`, and closes what it held.
    pub(super) fn set(&mut self, fd: OwnedFd) {
        self.clear();
        self.0 = fd.into_raw_fd();
    }

    /// Closes what it held.
    pub(super) fn clear(&mut self) {
        let number = std::mem::take(&mut self.0);
        if number != 0 {
            // SAFETY: it came from an `OwnedFd` in `set`, and the number is forgotten.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: it is open as long as `self` holds it.
        (self.0 != 0).then(|| unsafe { BorrowedFd::borrow_raw(self.0) })
    }

    /// Its number as `poll` wants it: -1 when there is none.
    pub(super) fn number(&self) -> RawFd {
        if self.0 == 0 { -1 } else { self.0 }
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        self.0 == 0
    }
}
