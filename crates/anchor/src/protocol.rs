//! What the anchor's two sockets speak: version 1, frozen.
//!
//! A session's anchor lives as long as the session, while keepers and daemons of later versions
//! come and talk to it. So nothing here changes in meaning: later versions only add operations,
//! and an anchor answers those it does not know with [`Code::UnknownOperation`].
//!
//! Both sockets are AF_UNIX SOCK_SEQPACKET. The *link* is one end of a pair, made for each keeper
//! and inherited by it; the *supervisor socket* is a listener, and only processes of the anchor's
//! own user are served (SO_PEERCRED). Each request is one packet and gets one packet as its
//! answer, in order. Integers are little-endian. Names are 1 to 63 printable ASCII bytes without
//! space, padded with NUL to 64.
//!
//! ```text
//! request, 208 bytes                      reply, 96 bytes
//!   0  u16  version, 1                      0  u16  version of the anchor's protocol, 1
//!   2  u16  operation                       2  u16  operation, as in the request
//!   4  u32  sequence, any number            4  u32  sequence, as in the request
//!   8  u32  id                              8  u32  code
//!  12  u32  0                              12  u32  values[5]
//!  16  name first                          32  name
//!  80  name second
//! 144  name third
//! ```
//!
//! | operation | socket | request | answer |
//! |---|---|---|---|
//! | 1 Hello | both | | values: anchor's pid |
//! | 16 Put | link | first + one descriptor | replaces what had that name |
//! | 17 Drop | link | first | `NotFound` if there is none |
//! | 18 List | link | id = index from 0 | name + one descriptor; `NoMore` behind the last |
//! | 19 Pump | link | id; first = source, second = ring, third = notify | |
//! | 20 Unpump | link | id | `NotFound` if there is none |
//! | 21 Poke | link | id | the pump tries its source again |
//! | 22 Quit | link | | the anchor exits with 0 after its answer |
//! | 23 Listen | link | | the supervisor socket is bound again where it was removed |
//! | 32 Status | supervisor | | values: keeper's pid or 0, pumps, entries, anchor's pid |
//! | 33 SpawnKeeper | supervisor | one descriptor: its image | values: keeper's pid |
//! | 34 Kill | supervisor | | values: children killed, children that had not gone after 5 s; then it exits with 0 |
//!
//! Put and Drop between two Lists change what an index means. A packet of another length is
//! `Malformed`, and so is one with too many or too few descriptors, which are closed. With
//! `System`, values\[0\] is the error number. A packet of another version is answered
//! `UnsupportedVersion`. A packet too short to hold version, operation and sequence is answered
//! with zeros in their place.
//!
//! The anchor never waits for a peer: while one leaves its answers unread, the anchor reads no
//! more from it.
//!
//! A pump holds its own duplicates: dropping a name does not stop it. It sets its source
//! O_NONBLOCK and writes the number 1, in eight bytes as an eventfd has it, to its notify descriptor
//! after each batch of bytes, when the source comes to its end, and when the ring's floor stops it. A source at its end, and one stopped by the floor,
//! is left alone until Poke. (A pty master at its end may flow again once a program opens the
//! terminal.)

/// The version this code speaks.
pub const VERSION: u16 = 1;
/// Bytes of a request.
pub const REQUEST_LEN: usize = 208;
/// Bytes of a reply.
pub const REPLY_LEN: usize = 96;
/// Longest name in bytes.
pub const MAX_NAME: usize = 63;
/// Most entries of the store.
pub const MAX_ENTRIES: usize = 512;
/// Most pumps.
pub const MAX_PUMPS: usize = 128;

/// What is asked of the anchor. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    /// Says the version.
    Hello = 1,
    /// Stores a descriptor under a name.
    Put = 16,
    /// Closes a stored descriptor.
    Drop = 17,
    /// Returns one stored descriptor by index.
    List = 18,
    /// Starts pumping.
    Pump = 19,
    /// Stops pumping.
    Unpump = 20,
    /// Lets a pump try its source again.
    Poke = 21,
    /// Exits.
    Quit = 22,
    /// Binds the supervisor socket again.
    Listen = 23,
    /// Reports.
    Status = 32,
    /// Starts a keeper from another image.
    SpawnKeeper = 33,
    /// Kills all children and exits.
    Kill = 34,
}

impl Operation {
    /// The operation with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        [
            Self::Hello,
            Self::Put,
            Self::Drop,
            Self::List,
            Self::Pump,
            Self::Unpump,
            Self::Poke,
            Self::Quit,
            Self::Listen,
            Self::Status,
            Self::SpawnKeeper,
            Self::Kill,
        ]
        .into_iter()
        .find(|operation| *operation as u16 == number)
    }
}

/// How an operation went. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Done.
    Done = 0,
    /// This anchor, or this socket of it, knows no such operation.
    UnknownOperation = 1,
    /// The packet is of another version.
    UnsupportedVersion = 2,
    /// The packet's length or number of descriptors is wrong.
    Malformed = 3,
    /// A name is empty, too long or not printable.
    BadName = 4,
    /// No entry has that name, no pump that id.
    NotFound = 5,
    /// The store holds [`MAX_ENTRIES`].
    StoreFull = 6,
    /// [`MAX_PUMPS`] run.
    PumpsFull = 7,
    /// A pump with that id runs.
    PumpExists = 8,
    /// The descriptor is no whole ring.
    BadRing = 9,
    /// A keeper lives.
    KeeperLives = 10,
    /// The system refused; the first value is its error number.
    System = 11,
    /// List has come to its end.
    NoMore = 12,
}

impl Code {
    /// The code with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Done,
            Self::UnknownOperation,
            Self::UnsupportedVersion,
            Self::Malformed,
            Self::BadName,
            Self::NotFound,
            Self::StoreFull,
            Self::PumpsFull,
            Self::PumpExists,
            Self::BadRing,
            Self::KeeperLives,
            Self::System,
            Self::NoMore,
        ]
        .into_iter()
        .find(|code| *code as u32 == number)
    }
}

/// A name as it travels. Equal names are equal bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; MAX_NAME + 1]);

impl Name {
    /// No name.
    pub const EMPTY: Self = Self([0; MAX_NAME + 1]);

    /// Builds a name; `None` if it breaks the rules above.
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !(1..=MAX_NAME).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut name = Self::EMPTY;
        name.0[..bytes.len()].copy_from_slice(bytes);
        Some(name)
    }

    /// The text; empty for [`Name::EMPTY`] and `None` if the bytes break the rules above.
    pub fn as_str(&self) -> Option<&str> {
        let len = self.0.iter().position(|&b| b == 0)?;
        let (text, padding) = self.0.split_at(len);
        if !text.iter().all(u8::is_ascii_graphic) || padding.iter().any(|&b| b != 0) {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    /// Whether it may name an entry of the store.
    pub fn is_valid(&self) -> bool {
        self.as_str().is_some_and(|text| !text.is_empty())
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name({:?})", self.as_str())
    }
}

/// A request as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Version of the sender's protocol.
    pub version: u16,
    /// Number of the operation.
    pub operation: u16,
    /// Comes back in the reply.
    pub sequence: u32,
    /// A pump's id or List's index.
    pub id: u32,
    /// As the operation has it.
    pub names: [Name; 3],
}

impl Request {
    /// A request of this version without names.
    pub fn new(operation: Operation, sequence: u32) -> Self {
        Self { version: VERSION, operation: operation as u16, sequence, id: 0, names: [Name::EMPTY; 3] }
    }

    /// The packet.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut packet = [0; REQUEST_LEN];
        packet[0..2].copy_from_slice(&self.version.to_le_bytes());
        packet[2..4].copy_from_slice(&self.operation.to_le_bytes());
        packet[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        packet[8..12].copy_from_slice(&self.id.to_le_bytes());
        for (i, name) in self.names.iter().enumerate() {
            packet[16 + 64 * i..80 + 64 * i].copy_from_slice(&name.0);
        }
        packet
    }

    /// Reads what there is of a packet: missing bytes count as zeros.
    pub fn decode(packet: &[u8]) -> Self {
        let mut whole = [0; REQUEST_LEN];
        let len = packet.len().min(REQUEST_LEN);
        whole[..len].copy_from_slice(&packet[..len]);
        let mut names = [Name::EMPTY; 3];
        for (i, name) in names.iter_mut().enumerate() {
            name.0.copy_from_slice(&whole[16 + 64 * i..80 + 64 * i]);
        }
        Self {
            version: u16::from_le_bytes([whole[0], whole[1]]),
            operation: u16::from_le_bytes([whole[2], whole[3]]),
            sequence: u32_at(&whole, 4),
            id: u32_at(&whole, 8),
            names,
        }
    }
}

/// A reply as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Version of the anchor's protocol.
    pub version: u16,
    /// Number of the operation that is answered.
    pub operation: u16,
    /// As in the request.
    pub sequence: u32,
    /// Number of the [`Code`].
    pub code: u32,
    /// As the operation has them.
    pub values: [u32; 5],
    /// An entry's name.
    pub name: Name,
}

impl Reply {
    /// The answer to a request, with nothing but a code.
    pub fn to(request: &Request, code: Code) -> Self {
        Self {
            version: VERSION,
            operation: request.operation,
            sequence: request.sequence,
            code: code as u32,
            values: [0; 5],
            name: Name::EMPTY,
        }
    }

    /// The packet.
    pub fn encode(&self) -> [u8; REPLY_LEN] {
        let mut packet = [0; REPLY_LEN];
        packet[0..2].copy_from_slice(&self.version.to_le_bytes());
        packet[2..4].copy_from_slice(&self.operation.to_le_bytes());
        packet[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        packet[8..12].copy_from_slice(&self.code.to_le_bytes());
        for (i, value) in self.values.iter().enumerate() {
            packet[12 + 4 * i..16 + 4 * i].copy_from_slice(&value.to_le_bytes());
        }
        packet[32..96].copy_from_slice(&self.name.0);
        packet
    }

    /// Reads a packet; `None` if it is too short. Bytes behind those of this version are left to
    /// later ones.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let whole: &[u8; REPLY_LEN] = packet.first_chunk()?;
        let mut name = Name::EMPTY;
        name.0.copy_from_slice(&whole[32..96]);
        Some(Self {
            version: u16::from_le_bytes([whole[0], whole[1]]),
            operation: u16::from_le_bytes([whole[2], whole[3]]),
            sequence: u32_at(whole, 4),
            code: u32_at(whole, 8),
            values: std::array::from_fn(|i| u32_at(whole, 12 + 4 * i)),
            name,
        })
    }
}

fn u32_at<const N: usize>(packet: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_the_frozen_bytes() {
        let request = Request {
            version: VERSION,
            operation: Operation::Pump as u16,
            sequence: 0x0403_0201,
            id: 9,
            names: ["a", "bb", "ccc"].map(|n| Name::new(n).unwrap()),
        };
        let packet = request.encode();
        assert_eq!(packet[..20], [1, 0, 19, 0, 1, 2, 3, 4, 9, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 0, 0]);
        assert_eq!((&packet[80..83], &packet[144..148]), (&b"bb\0"[..], &b"ccc\0"[..]));
        assert_eq!(Request::decode(&packet), request);

        let mut reply = Reply::to(&request, Code::System);
        reply.values = [1, 2, 3, 4, 5];
        reply.name = Name::new("x/y").unwrap();
        let packet = reply.encode();
        assert_eq!(packet[..16], [1, 0, 19, 0, 1, 2, 3, 4, 11, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!((packet[28], &packet[32..36]), (5, &b"x/y\0"[..]));
        assert_eq!(Reply::decode(&packet), Some(reply));
        assert_eq!(Reply::decode(&packet[..95]), None);
    }

    #[test]
    fn names_keep_their_rules() {
        let longest = "n".repeat(63);
        assert_eq!(Name::new(&longest).unwrap().as_str(), Some(&*longest));
        for bad in ["", "a b", "a\0", "ä", &"n".repeat(64)] {
            assert!(Name::new(bad).is_none(), "{bad:?}");
        }
        assert!(!Name::EMPTY.is_valid());
        assert!(!Name([b'x'; 64]).is_valid());
        let mut hidden = Name::new("a").unwrap();
        hidden.0[5] = b'x';
        assert!(!hidden.is_valid());
    }

    #[test]
    fn numbers_and_variants_agree() {
        for number in 0..200u16 {
            assert!(Operation::from_number(number).is_none_or(|o| o as u16 == number));
            assert!(Code::from_number(number.into()).is_none_or(|c| c as u32 == u32::from(number)));
        }
        assert_eq!(Code::from_number(13), None);
    }

    #[test]
    fn numbers_are_frozen() {
        use Operation::{
            Drop, Hello, Kill, List, Listen, Poke, Pump, Put, Quit, SpawnKeeper, Status, Unpump,
        };
        let operations =
            [Hello, Put, Drop, List, Pump, Unpump, Poke, Quit, Listen, Status, SpawnKeeper, Kill];
        assert_eq!(operations.map(|o| o as u16), [1, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34]);
        let codes = [
            Code::Done,
            Code::UnknownOperation,
            Code::UnsupportedVersion,
            Code::Malformed,
            Code::BadName,
            Code::NotFound,
            Code::StoreFull,
            Code::PumpsFull,
            Code::PumpExists,
            Code::BadRing,
            Code::KeeperLives,
            Code::System,
            Code::NoMore,
        ];
        assert_eq!(codes.map(|c| c as u32), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }
}
