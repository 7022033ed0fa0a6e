//! A terminal's screen, saved beside its ring for a keeper that takes over: what draws it at one
//! offset, so that a drawing older than the ring is not lost.
//!
//! The ring's floor is the offset that was saved: what followed stays in the ring until the next save.
//! A save happens when the terminal is quiet, and at the latest while the pump still has room, then
//! without the lines that scrolled off, which take longer to write out.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use sessile_anchor::link::Link;
use sessile_anchor::ring::Ring;
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::spec::WindowSize;
use sessile_model::state::State;
use sessile_terminal::Scrollback;

use crate::halves::{HALF, Halves, HalvesError, read_exact, write_all};
use crate::keeper::Keeper;
use crate::queries::{MAX_TURNS, Turn};
use crate::screen::ScreenModel;
use crate::task::{Streams, Task};

/// Bytes before a dump: its offset, columns and rows.
const HEADER: usize = 12;
/// What lies behind the halves: up to which offset questions are settled, and by whose turn.
const SETTLED: u64 = 2 * HALF;
const SETTLED_BYTES: usize = 16 + 16 * MAX_TURNS;
/// How long a terminal that writes nothing is quiet.
const QUIET: Millis = Millis(100);
/// The smallest ring beside which lines that scrolled off are saved: they take more than it.
const SMALL_RING: u64 = 256 << 10;

/// The part of a terminal's names in the anchor's store.
pub const PART: &str = "screen";

/// What is saved of one terminal.
#[derive(Debug, Default)]
pub struct SavedScreen {
    /// There from the first save on.
    file: Option<Halves>,
    /// The ring offset of what was saved last. At 0 an empty screen needs no saving.
    offset: u64,
    /// The last save failed, or none is made any more: what the ring holds is all there is.
    failed: bool,
    /// What scrolled off is not in it.
    partial: bool,
    /// When the terminal last wrote.
    wrote_at: Option<Timestamp>,
}

/// A screen as it was at an offset.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The ring offset.
    pub offset: u64,
    /// The screen's size.
    pub size: WindowSize,
    /// What draws it.
    pub dump: Vec<u8>,
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.dump.len());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.size.cols.to_le_bytes());
        bytes.extend(self.size.rows.to_le_bytes());
        bytes.extend(&self.dump);
        bytes
    }

    fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [o0, o1, o2, o3, o4, o5, o6, o7, c0, c1, r0, r1] = *header;
        let offset = u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        let size = WindowSize { cols: u16::from_le_bytes([c0, c1]), rows: u16::from_le_bytes([r0, r1]) };
        bytes.drain(..HEADER);
        size.is_valid().then_some(Self { offset, size, dump: bytes })
    }
}

impl SavedScreen {
    /// Takes over what a predecessor saved, with the screen as it was there where the ring goes on
    /// from it.
    pub fn adopt(file: Option<OwnedFd>, ring: &Ring) -> (Self, Option<Snapshot>) {
        let Some(file) = file else {
            return (Self { failed: ring.oldest() > 0, ..Self::default() }, None);
        };
        let (halves, bytes) = Halves::adopt(file);
        let snapshot = bytes.and_then(Snapshot::decode);
        let (oldest, head) = (ring.oldest(), ring.head());
        let snapshot = snapshot.filter(|saved| (oldest..=head).contains(&saved.offset));
        let offset = snapshot.as_ref().map_or(0, |saved| saved.offset);
        let failed = snapshot.is_none() && oldest > 0;
        (Self { file: Some(halves), offset, failed, ..Self::default() }, snapshot)
    }

    /// The offset up to which questions were settled, where that was ever noted, and by whose turn.
    pub fn settled(&self) -> Option<(u64, Vec<Turn>)> {
        let mut bytes = [0; SETTLED_BYTES];
        read_exact(self.file.as_ref()?.fd(), &mut bytes, SETTLED).ok()?;
        let mut words = bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word));
        let (offset, count) = (words.next()?, usize::try_from(words.next()?).ok()?);
        let turns = std::iter::from_fn(|| Some(Turn { from: words.next()?, client: words.next()? }));
        Some((offset, turns.take(count).collect()))
    }

    /// Notes that questions up to this offset are settled. The memory file must be there.
    ///
    /// # Errors
    /// What the system says.
    pub fn note_settled(&self, offset: u64, turns: &[Turn]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let words = turns.iter().flat_map(|turn| [turn.from, turn.client]);
        let words = [offset, turns.len() as u64].into_iter().chain(words);
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(SETTLED_BYTES).collect();
        // Within one page, so that no kill leaves half of it.
        write_all(file.fd(), &bytes, SETTLED)
    }

    /// The terminal wrote something.
    pub fn wrote(&mut self, now: Timestamp) {
        self.wrote_at = Some(now);
    }

    /// The first byte that the ring must keep, where the model has been fed up to `fed`.
    pub fn floor(&self, fed: u64) -> u64 {
        if self.failed { fed } else { self.offset.min(fed) }
    }

    /// What is to be saved now: everything where the terminal is quiet; where its pump would soon wait,
    /// what is saved quickly.
    fn due(&self, fed: u64, capacity: u64, now: Timestamp) -> Option<Scrollback> {
        let ahead = fed.saturating_sub(self.offset);
        if self.wants_all(ahead, capacity) && self.wrote_at.is_none_or(|at| now.since(at) >= QUIET) {
            return Some(if capacity < SMALL_RING { Scrollback::Without } else { Scrollback::With });
        }
        (ahead >= capacity / 4 * 3).then_some(Scrollback::Without)
    }

    fn wants_all(&self, ahead: u64, capacity: u64) -> bool {
        ahead >= capacity / 4 || (self.partial && capacity >= SMALL_RING)
    }

    /// How long until it is quiet, where there is something to save then.
    fn until_due(&self, fed: u64, capacity: u64, now: Timestamp) -> Option<Millis> {
        let ahead = fed.saturating_sub(self.offset);
        let waited = self.wrote_at.map_or(QUIET, |at| now.since(at));
        self.wants_all(ahead, capacity).then(|| Millis(QUIET.0.saturating_sub(waited.0)))
    }

    /// Makes the memory file, in the anchor's store under this name, where there is none yet.
    pub fn prepare(&mut self, link: &Link, name: &str) -> io::Result<()> {
        if self.file.is_none() {
            let file = Halves::create("sessile-screen", SETTLED_BYTES as u64)?;
            link.put(name, file.fd()).map_err(io::Error::other)?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Saves a screen over the older of the two that are saved.
    fn save(&mut self, screen: &ScreenModel, scrollback: Scrollback) {
        let snapshot = |scrollback| {
            Snapshot { offset: screen.offset(), size: screen.size(), dump: screen.dump(scrollback) }.encode()
        };
        let Some(file) = &mut self.file else { return };
        let written = match file.write(&snapshot(scrollback)) {
            Err(HalvesError::TooLarge(_)) => file.write(&snapshot(Scrollback::Without)),
            other => other,
        };
        self.offset = screen.offset();
        self.failed = written.is_err();
        self.partial = scrollback == Scrollback::Without;
    }

    /// The memory file, to be overwritten.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(Halves::fd)
    }

    /// Lets go of what is saved.
    pub fn forget(&mut self) {
        *self = Self { failed: true, ..Self::default() };
    }
}

impl Task {
    /// Notes for a successor that what was asked so far is settled.
    pub(crate) fn note_settled(&mut self, link: &Link) {
        let Streams::Terminal { output, screen, saved, .. } = &mut self.streams else { return };
        let noted = saved
            .prepare(link, &format!("io/{}/{PART}", output.io))
            .and_then(|()| saved.note_settled(screen.offset(), self.queries.turns()));
        // A successor then goes by the ring's floor.
        saved.failed |= noted.is_err();
    }

    /// Saves the screen as it is.
    fn save_screen(&mut self, scrollback: Scrollback, link: &Link) {
        let Streams::Terminal { output, screen, saved, .. } = &mut self.streams else { return };
        if saved.prepare(link, &format!("io/{}/{PART}", output.io)).is_ok() {
            saved.save(screen, scrollback);
        } else {
            (saved.offset, saved.failed, saved.partial) = (screen.offset(), true, false);
        }
        self.release(link);
    }

    /// Saves no more: the ring need not keep more than the model needs.
    fn stop_saving(&mut self, link: &Link) {
        let Streams::Terminal { saved, .. } = &mut self.streams else { return };
        if !std::mem::replace(&mut saved.failed, true) {
            self.release(link);
        }
    }

    fn release(&self, link: &Link) {
        let Streams::Terminal { output, screen, saved, .. } = &self.streams else { return };
        if output.ring.set_floor(Some(saved.floor(screen.offset()))) {
            // A dead anchor pumps nothing; its death is told by its pidfd.
            let _ = link.poke(output.io);
        }
    }
}

impl Keeper {
    /// Saves the screens that are due.
    pub(crate) fn save_screens(&mut self) {
        let (now, saves) = (self.now, self.saves_screens());
        for task in self.tasks.values_mut() {
            let Streams::Terminal { output, screen, saved, .. } = &task.streams else { continue };
            match saved.due(screen.offset(), output.ring.capacity(), now) {
                _ if !saves => task.stop_saving(&self.seat.link),
                Some(scrollback) => task.save_screen(scrollback, &self.seat.link),
                None => {}
            }
        }
    }

    /// Saves a screen that has another size now: what was written before was written for the old one.
    pub(crate) fn save_resized(&mut self, name: &AppName) {
        if self.saves_screens()
            && let Some(task) = self.tasks.get_mut(name)
            && task.screen().is_some_and(|screen| screen.offset() > 0)
        {
            let small = task.output().ring.capacity() < SMALL_RING;
            let scrollback = if small { Scrollback::Without } else { Scrollback::With };
            task.save_screen(scrollback, &self.seat.link);
        }
    }

    /// How long no screen is due unless something is written.
    pub(crate) fn until_save(&self) -> Option<Millis> {
        let due = |task: &Task| match &task.streams {
            Streams::Terminal { output, screen, saved, .. } => {
                saved.until_due(screen.offset(), output.ring.capacity(), self.now)
            }
            Streams::Pipes { .. } => None,
        };
        self.tasks.values().filter(|_| self.saves_screens()).filter_map(due).min()
    }

    /// From the wipe on, nothing is saved any more.
    fn saves_screens(&self) -> bool {
        let state = self.machine.as_ref().map(sessile_session::Session::state);
        !self.anchor_is_dead && matches!(state, Some(State::Active | State::Paused))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;

    const SIZE: WindowSize = WindowSize { cols: 20, rows: 4 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A ring that has held so many bytes.
    fn ring(bytes: usize) -> Ring {
        let (ring, _) = Ring::create(64 << 10).unwrap();
        let (source, mut sink) = io::pipe().unwrap();
        for _ in 0..bytes / 1000 {
            sink.write_all(&[b'x'; 1000]).unwrap();
            ring.write_from(source.as_fd()).unwrap();
        }
        ring
    }

    fn saved(screen: &ScreenModel) -> SavedScreen {
        let mut saved = SavedScreen {
            file: Some(Halves::create("test", SETTLED_BYTES as u64).unwrap()),
            ..SavedScreen::default()
        };
        saved.save(screen, Scrollback::With);
        saved
    }

    fn file(saved: &SavedScreen) -> Option<OwnedFd> {
        saved.fd().map(|fd| fd.try_clone_to_owned().unwrap())
    }

    #[test]
    fn a_successor_goes_on_from_what_was_saved() {
        let mut screen = ScreenModel::new(SIZE, 0);
        screen.feed(0, b"\x1b[2;4r\x1b[31mdrawn once\x1b[4;1H");
        screen.feed(27, &[b'\n'; 973]);
        let saved = saved(&screen);
        let turns = [Turn { from: 3, client: 7 }, Turn { from: 600, client: 0 }];
        saved.note_settled(700, &turns).unwrap();
        let rest = b"the end \x1b[3";
        screen.feed(1000, rest);
        let (adopted, snapshot) = SavedScreen::adopt(file(&saved), &ring(2000));
        assert_eq!((adopted.settled(), adopted.floor(5000)), (Some((700, turns.to_vec())), 1000));
        let mut again = ScreenModel::restore(&snapshot.unwrap());
        again.feed(1000, rest);
        assert_eq!(again.describe(0), screen.describe(0));
        assert_eq!(again.dump(Scrollback::With), screen.dump(Scrollback::With));
    }

    #[test]
    fn a_save_that_was_cut_off_leaves_the_one_before() {
        let mut screen = ScreenModel::new(SIZE, 0);
        screen.feed(0, b"one");
        let mut saved = saved(&screen);
        screen.feed(3, b"two");
        saved.save(&screen, Scrollback::With);
        // The first save went into the second half.
        write_all(saved.fd().unwrap(), &[0xff; 40], 0).unwrap();
        let (_, snapshot) = SavedScreen::adopt(file(&saved), &ring(2000));
        assert_eq!(snapshot.unwrap().offset, 3);
        write_all(saved.fd().unwrap(), &[0xff; 40], HALF).unwrap();
        let (adopted, snapshot) = SavedScreen::adopt(file(&saved), &ring(2000));
        assert_eq!((adopted.floor(9), snapshot), (0, None), "the ring has everything");
    }

    #[test]
    fn what_the_ring_does_not_go_on_from_is_not_used() {
        let mut screen = ScreenModel::new(SIZE, 0);
        screen.feed(0, b"one");
        let (adopted, snapshot) = SavedScreen::adopt(file(&saved(&screen)), &ring(200_000));
        assert_eq!((adopted.floor(200_000), snapshot), (200_000, None));
        // Nor one of a later time than the ring's.
        screen.feed(3, &[b'x'; 5000]);
        assert_eq!(SavedScreen::adopt(file(&saved(&screen)), &ring(2000)).1, None);
    }

    #[test]
    fn a_quiet_terminal_is_saved_and_a_flood_before_its_pump_waits() {
        const RING: u64 = 1 << 20;
        let mut saved = SavedScreen::default();
        saved.wrote(at(1000));
        assert_eq!(saved.due(RING / 4, RING, at(1050)), None);
        assert_eq!(saved.until_due(RING / 4, RING, at(1050)), Some(Millis(50)));
        assert_eq!(saved.due(RING / 4, RING, at(1100)), Some(Scrollback::With));
        assert_eq!(saved.due(1 << 10, 4 << 10, at(1100)), Some(Scrollback::Without));
        assert_eq!(saved.until_due(RING / 4 - 1, RING, at(1100)), None);
        assert_eq!(saved.due(RING / 4 - 1, RING, at(1100)), None);
        assert_eq!(saved.due(RING / 4 * 3, RING, at(1000)), Some(Scrollback::Without));
        // What scrolled off follows when there is time.
        saved.partial = true;
        assert_eq!(saved.until_due(1, RING, at(1050)), Some(Millis(50)));
        assert_eq!(saved.due(1, RING, at(1100)), Some(Scrollback::With));
    }

    #[test]
    fn a_screen_too_large_for_its_place_is_saved_without_its_history() {
        let size = WindowSize { cols: 1000, rows: 4 };
        let mut screen = ScreenModel::new(size, 0);
        // Every cell of another colour: 20 bytes each.
        let line: String =
            (0..1000).map(|n| format!("\x1b[38;2;{};{};{}mx", n % 250, n % 7, n % 11)).collect();
        for _ in 0..600 {
            screen.feed(screen.offset(), line.as_bytes());
        }
        assert!(screen.dump(Scrollback::With).len() as u64 > HALF);
        let (_, bytes) = Halves::adopt(file(&saved(&screen)).unwrap());
        let snapshot = bytes.and_then(Snapshot::decode).unwrap();
        assert_eq!((snapshot.offset, snapshot.dump), (screen.offset(), screen.dump(Scrollback::Without)));
    }
}
