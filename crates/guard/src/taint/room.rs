//! Where a registry keeps what it knows: memory that whoever makes it lends.

use zeroize::Zeroizing;

/// Memory of a registry. It is overwritten by whoever lends it, at the latest when it is dropped.
pub trait Room {
    /// What lies in it.
    fn bytes(&self) -> &[u8];
    /// The same, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes it this long or longer, keeping what lies in it; what is new is zero. Returns whether it could.
    fn grow(&mut self, length: usize) -> bool;
}

/// What a registry needs.
pub struct Rooms {
    /// For the filter: [`FILTER_BYTES`](super::FILTER_BYTES).
    pub filter: Box<dyn Room>,
    /// For the table: at most 128 bytes for each value.
    pub table: Box<dyn Room>,
    /// For the key, and the canonical letters of values: 32 bytes, and about four times the values.
    pub letters: Box<dyn Room>,
}

impl Rooms {
    /// On the heap, overwritten as it is freed.
    #[must_use]
    pub fn on_the_heap() -> Self {
        let room = || Box::new(Heap::default());
        Self { filter: room(), table: room(), letters: room() }
    }
}

impl core::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rooms(redacted)")
    }
}

/// A room on the heap.
#[derive(Default)]
pub struct Heap(Zeroizing<Vec<u8>>);

impl core::fmt::Debug for Heap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Heap({} bytes, redacted)", self.0.len())
    }
}

impl Room for Heap {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn grow(&mut self, length: usize) -> bool {
        if length > self.0.len() {
            // Growing in place might leave a copy behind.
            let mut more = Zeroizing::new(vec![0; length.max(self.0.len() * 2)]);
            more[..self.0.len()].copy_from_slice(&self.0);
            self.0 = more;
        }
        true
    }
}
