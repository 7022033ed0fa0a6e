//! Window titles: the current one, and those put aside.

/// Longest title kept, in bytes.
const MAX_TITLE: usize = 1024;
/// Most titles put aside (xterm keeps ten).
const MAX_DEPTH: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Titles {
    pub(crate) current: Box<str>,
    pub(crate) pushed: Vec<Box<str>>,
}

impl Titles {
    pub(crate) fn set(&mut self, title: &[u8]) {
        let title = String::from_utf8_lossy(&title[..title.len().min(MAX_TITLE)]);
        self.current = title.chars().filter(|character| !character.is_control()).collect::<String>().into();
    }

    pub(crate) fn push(&mut self) {
        if self.pushed.len() == MAX_DEPTH {
            self.pushed.remove(0);
        }
        self.pushed.push(self.current.clone());
    }

    pub(crate) fn pop(&mut self) {
        if let Some(title) = self.pushed.pop() {
            self.current = title;
        }
    }
}
