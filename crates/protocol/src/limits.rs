//! How much a check may cost, counted and not timed.

use crate::diagnostic::{Code, Problem};

/// The deepest nesting that any limit allows: what walks a tree calls itself once a level.
const DEEPEST: usize = 128;

/// What a check may cost. A limit that is reached is an error or, where work was under way,
/// [`Code::Unknown`]: never an acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: usize,
    /// Files: the one that is checked and those that it imports.
    pub modules: usize,
    /// Blocks within blocks, those of protocols that `do` takes in among them; 128 at most.
    pub nesting: usize,
    /// Statements, in the files and again with every `do` replaced by what it names.
    pub statements: usize,
    /// Roles of one protocol, and its parameters; 64 at most.
    pub roles: usize,
    /// States of one machine, and of all machines together with their queues.
    pub states: usize,
    /// Elementary steps of the whole check.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 1 << 20,
            modules: 64,
            nesting: 64,
            statements: 20_000,
            roles: 32,
            states: 200_000,
            steps: 20_000_000,
        }
    }
}

impl Limits {
    /// The nesting that is allowed.
    pub(crate) fn depth(&self) -> usize {
        self.nesting.min(DEEPEST)
    }
}

/// Counts down what a check has left.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    steps: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Budget { limits, steps: 0 }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Steps taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes steps.
    ///
    /// # Errors
    /// When there are none left.
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Problem> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.limits.steps {
            return Err(Problem::new(Code::Unknown, format!("more than {} steps", self.limits.steps)));
        }
        Ok(())
    }

    /// Whether one more state may be, of so many words.
    ///
    /// # Errors
    /// When there are too many, or they are too large.
    pub(crate) fn state(&mut self, count: usize, words: usize) -> Result<(), Problem> {
        // What is kept is counted dearer than what is done.
        self.spend(8 + 8 * words)?;
        if count >= self.limits.states {
            return Err(Problem::new(Code::Unknown, format!("more than {} states", self.limits.states)));
        }
        Ok(())
    }
}
