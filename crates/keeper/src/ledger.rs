//! What became of each client's input, and how much was typed by whom: numbers in a memory file that the anchor
//! holds, changed with every write to an app at the cost of a few stores.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sessile_anchor::numbers::Numbers;

/// Rows the ledger holds; the least recently begun one gives way.
const ROWS: usize = 128;
/// Numbers of a row.
const ROW: usize = 3;
/// A row of no client, in the place of one that is being made: the rows behind it count.
const TORN: u64 = u64::MAX;
/// Counts of what was typed that it holds, behind the rows.
const COUNTS: usize = 128;
/// Numbers of a count: one more than the terminal's or pipe's (0: of nobody), the client, and how many bytes.
const COUNT: usize = 3;
/// All its numbers. One of version 1 has the rows alone.
const NUMBERS: usize = ROWS * ROW + COUNTS * COUNT;

/// Who typed, and where: a client by its number, or requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typist {
    /// The number of the terminal or pipe in the anchor's store.
    pub io: u32,
    /// The client's number; 0 for requests.
    pub client: u64,
}

/// What became of each client's input: survives the keeper.
#[derive(Debug)]
pub struct InputLedger {
    numbers: Numbers,
    rows: Vec<LedgerRow>,
    next: usize,
}

/// One client's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// The client's number.
    pub client: u64,
    /// Highest sequence number whose write was begun.
    pub started: u64,
    /// Highest sequence number that was written.
    pub done: u64,
}

impl InputLedger {
    /// A new, empty one.
    ///
    /// # Errors
    /// When the machine has no memory file to give.
    pub fn create() -> io::Result<Self> {
        Ok(Self { numbers: Numbers::create(c"sessile-input", NUMBERS)?, rows: Vec::new(), next: 0 })
    }

    /// Takes over the one a predecessor kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn adopt(file: OwnedFd) -> io::Result<Self> {
        let numbers = Numbers::open(file, NUMBERS)?;
        let row = |index| {
            let [client, started, done] = [0, 1, 2].map(|at| u64::from_le(numbers.get(index * ROW + at)));
            LedgerRow { client, started, done }
        };
        let rows: Vec<LedgerRow> = (0..ROWS).map(row).take_while(|row| row.client != 0).collect();
        let next = rows.len() % ROWS;
        Ok(Self { numbers, rows, next })
    }

    /// What is known of a client's input; zeros when nothing is.
    pub fn of(&self, client: u64) -> LedgerRow {
        let found = self.rows.iter().find(|row| row.client == client);
        found.copied().unwrap_or(LedgerRow { client, ..LedgerRow::default() })
    }

    /// Notes that a write begins.
    pub fn begin(&mut self, client: u64, sequence: u64) {
        let row = LedgerRow { started: sequence, ..self.of(client) };
        self.store(row);
    }

    /// Notes that the write is over.
    pub fn finish(&mut self, client: u64, sequence: u64) {
        let row = LedgerRow { done: sequence, ..self.of(client) };
        self.store(row);
    }

    /// Bytes that were typed and are not in the journal yet.
    pub fn typed(&self, typist: Typist) -> u64 {
        self.place(typist).map_or(0, |(_, bytes)| bytes)
    }

    /// Adds to what was typed. False when there is no room to remember one more.
    #[must_use]
    pub fn add_typed(&mut self, typist: Typist, bytes: u64) -> bool {
        let set = |at: usize, number: u64| self.numbers.set(at, number.to_le());
        if let Some((at, before)) = self.place(typist) {
            set(at + 2, before + bytes);
            return true;
        }
        let Some(at) = self.places().find(|&at| self.count_at(at).is_none()) else { return false };
        set(at + 1, typist.client);
        set(at + 2, bytes);
        // Whose count it is comes last: what is found belongs together.
        set(at, u64::from(typist.io) + 1);
        true
    }

    /// What was typed goes into the journal.
    pub fn take_typed(&mut self, typist: Typist) -> u64 {
        let Some((at, bytes)) = self.place(typist) else { return 0 };
        self.numbers.set(at, 0);
        bytes
    }

    /// All who typed what is not in the journal yet.
    pub fn typists(&self) -> Vec<Typist> {
        self.places().filter_map(|at| self.count_at(at)).map(|(typist, _)| typist).collect()
    }

    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (0..COUNTS).map(|index| ROWS * ROW + index * COUNT)
    }

    /// Where somebody's count is, and what it is.
    fn place(&self, typist: Typist) -> Option<(usize, u64)> {
        self.places().find_map(|at| {
            let (_, bytes) = self.count_at(at).filter(|(whose, _)| *whose == typist)?;
            Some((at, bytes))
        })
    }

    fn count_at(&self, at: usize) -> Option<(Typist, u64)> {
        let [io, client, bytes] = [0, 1, 2].map(|number| u64::from_le(self.numbers.get(at + number)));
        let io = u32::try_from(io.checked_sub(1)?).ok()?;
        Some((Typist { io, client }, bytes))
    }

    /// The memory file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.numbers.as_fd()
    }

    fn store(&mut self, row: LedgerRow) {
        let (index, is_new) = match self.rows.iter().position(|r| r.client == row.client) {
            Some(index) => (index, false),
            None if self.rows.len() < ROWS => {
                self.rows.push(row);
                (self.rows.len() - 1, true)
            }
            None => {
                self.next = (self.next + 1) % ROWS;
                (self.next, true)
            }
        };
        self.rows[index] = row;
        let set = |at, number: u64| self.numbers.set(index * ROW + at, number.to_le());
        // Whose row it is comes last, and first that it is nobody's any more: what is found belongs together.
        if is_new {
            set(0, TORN);
        }
        set(1, row.started);
        set(2, row.done);
        if is_new {
            set(0, row.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_tells_written_uncertain_and_unwritten_apart() {
        let mut ledger = InputLedger::create().unwrap();
        ledger.begin(7, 1);
        ledger.finish(7, 1);
        ledger.begin(7, 2);
        let adopted = InputLedger::adopt(ledger.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(adopted.of(7), LedgerRow { client: 7, started: 2, done: 1 });
        assert_eq!(adopted.of(8), LedgerRow { client: 8, started: 0, done: 0 });
    }

    #[test]
    fn a_successor_knows_how_much_was_typed_by_whom() {
        let mut ledger = InputLedger::create().unwrap();
        let [one, other, requests] = [(0, 7), (2, 7), (0, 0)].map(|(io, client)| Typist { io, client });
        assert!(ledger.add_typed(one, 5) && ledger.add_typed(other, 1) && ledger.add_typed(requests, 3));
        assert!(ledger.add_typed(one, 2));
        assert_eq!(ledger.take_typed(other), 1);
        let mut adopted = InputLedger::adopt(ledger.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(adopted.typists(), [one, requests]);
        assert_eq!([one, other, requests].map(|typist| adopted.typed(typist)), [7, 0, 3]);
        // One place was given back; all others are taken at last, and nobody's count is another's.
        let all = (0..COUNTS as u64).map(|client| Typist { io: 9, client });
        assert_eq!(all.clone().filter(|&typist| adopted.add_typed(typist, 1)).count(), COUNTS - 2);
        assert_eq!([one, other, requests].map(|typist| adopted.typed(typist)), [7, 0, 3]);
        assert_eq!(all.map(|typist| adopted.take_typed(typist)).sum::<u64>(), COUNTS as u64 - 2);
    }
}
