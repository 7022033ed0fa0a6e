//! The numbers of a control sequence (ECMA-48 5.4.2, and ISO 8613-6 for those parted by colons).

/// Most numbers of one sequence; one with more is ignored, as the parser does.
const MOST: usize = 32;

/// Numbers in groups: parameters, each with those that a colon joined to it.
#[derive(Debug)]
pub(crate) struct Parameters {
    numbers: [u16; MOST],
    length: usize,
    /// By bit: the number belongs to the parameter before it.
    joined: u32,
}

impl Parameters {
    fn push(&mut self, number: u16, joined: bool) {
        self.numbers[self.length] = number;
        self.joined |= u32::from(joined) << self.length;
        self.length += 1;
    }

    /// Reads a control sequence from behind its `ESC [`, if all of it is here and it is an ordinary
    /// one: digits, colons, semicolons, and a letter, which is returned with the length. All others
    /// are for the parser.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, u8, usize)> {
        let mut parameters = Self { numbers: [0; MOST], length: 0, joined: 0 };
        let (mut number, mut joined) = (0u16, false);
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u16::from(byte - b'0')),
                b';' | b':' | b'@'..=b'~' if parameters.length == MOST => return None,
                b';' | b':' => {
                    parameters.push(number, joined);
                    (number, joined) = (0, byte == b':');
                }
                b'@'..=b'~' => {
                    parameters.push(number, joined);
                    return Some((parameters, byte, at + 1));
                }
                _ => return None,
            }
        }
        None
    }

    /// How many parameters there are.
    pub(crate) fn len(&self) -> usize {
        self.length - self.joined.count_ones() as usize
    }

    /// The first number of a parameter; 0 where it is absent.
    pub(crate) fn number(&self, index: usize) -> u16 {
        if self.joined == 0 {
            return if index < self.length { self.numbers[index] } else { 0 };
        }
        self.iter().nth(index).map_or(0, |parameter| parameter[0])
    }

    /// The parameters, none of them empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u16]> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start == self.length {
                return None;
            }
            let mut end = start + 1;
            while end < self.length && self.joined >> end & 1 == 1 {
                end += 1;
            }
            let parameter = &self.numbers[start..end];
            start = end;
            Some(parameter)
        })
    }
}

impl From<&vte::Params> for Parameters {
    fn from(params: &vte::Params) -> Self {
        let mut parameters = Self { numbers: [0; MOST], length: 0, joined: 0 };
        for parameter in params {
            for (at, &number) in parameter.iter().enumerate() {
                parameters.push(number, at > 0);
            }
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_sequences_are_read() {
        let read = |bytes: &[u8]| {
            let (parameters, action, length) = Parameters::read(bytes)?;
            Some((parameters.iter().map(<[u16]>::to_vec).collect::<Vec<_>>(), action, length))
        };
        assert_eq!(read(b"m"), Some((vec![vec![0]], b'm', 1)));
        assert_eq!(read(b"4:3;;999999mx"), Some((vec![vec![4, 3], vec![0], vec![65_535]], b'm', 12)));
        assert_eq!(read(b"1;2"), None);
        assert_eq!(read(b"?25h"), None);
        assert_eq!(read("1;".repeat(40).as_bytes()), None);
    }
}
