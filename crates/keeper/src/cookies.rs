//! The session's cookies: a document that the keeper keeps for whoever reads and writes it, and
//! does not read itself. It lies in a memory file with the anchor and is overwritten by the wipe.

use std::os::fd::{BorrowedFd, OwnedFd};

use sessile_model::api::Cookies;
use sessile_model::{Problem, ProblemKind};

use crate::bringup::failed;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::halves::HalvesError;
use crate::keeper::Keeper;

/// The name under which the anchor keeps the file.
pub const NAME: &str = "cookies";

/// The document and its file.
#[derive(Debug)]
pub struct Kept {
    file: Checkpoint,
    document: Cookies,
}

impl Kept {
    /// Takes over what a predecessor kept.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn adopt(file: OwnedFd) -> Result<Self, CheckpointError> {
        let (file, document) = Checkpoint::adopt(file)?;
        Ok(Self { file, document })
    }

    /// Its memory file.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }
}

impl Keeper {
    /// The cookies, and the version that a writer must have seen.
    pub(crate) fn cookies(&self) -> Cookies {
        self.cookies.as_ref().map(|kept| kept.document.clone()).unwrap_or_default()
    }

    /// Replaces the cookies, if nobody else did since their writer read them.
    pub(crate) fn keep_cookies(&mut self, mut document: Cookies) -> Result<(), Problem> {
        if document.version != self.cookies().version {
            return Err(Problem::new(ProblemKind::Conflict, "somebody else changed the cookies meanwhile")
                .hint("try again"));
        }
        document.version += 1;
        let mut kept = match self.cookies.take() {
            Some(kept) => kept,
            None => {
                let file = Checkpoint::create().map_err(|e| failed("no memory for the cookies", &e))?;
                self.keep(NAME, &file.fd()).map_err(|e| failed("the anchor", &e))?;
                Kept { file, document: Cookies::default() }
            }
        };
        let written = kept.file.write(&document);
        if written.is_ok() {
            kept.document = document;
        }
        self.cookies = Some(kept);
        written.map_err(|error| match error {
            CheckpointError::Halves(HalvesError::TooLarge(_)) => {
                Problem::new(ProblemKind::Exhausted, "the cookies are too large to keep")
            }
            CheckpointError::Halves(HalvesError::Io(_))
            | CheckpointError::Missing
            | CheckpointError::Json(_) => failed("the cookies", &error),
        })
    }
}
