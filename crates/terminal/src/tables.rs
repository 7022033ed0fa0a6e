//! What cells name by number: styles, hyperlinks and clusters of characters. Each table is cleared
//! of what no cell names any more once it has doubled since it was last cleared.

use std::collections::BTreeMap;

use crate::attributes::Style;
use crate::cell::{Cell, MAX_CLUSTERS};

/// A style's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StyleId(pub(crate) u32);

impl StyleId {
    pub(crate) const DEFAULT: Self = Self(0);
}

/// A hyperlink (OSC 8): what it leads to, and what makes cells apart from each other one link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) id: Box<str>,
    pub(crate) uri: Box<str>,
}

/// Longest cluster, in bytes; what would go beyond is dropped.
const MAX_CLUSTER: usize = 64;
/// Most bytes of links kept; beyond, text is no longer linked.
const MAX_LINKS: usize = 1 << 20;
/// How many styles are found at once.
const RECENT: usize = 64;
/// A table is cleared only from this many entries on.
const SMALL: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct Tables {
    styles: Vec<Style>,
    numbers: BTreeMap<Style, StyleId>,
    /// Styles asked for lately, by their digest.
    recent: Box<[(Style, StyleId); RECENT]>,
    /// Entry 0 is no link.
    links: Vec<Link>,
    link_bytes: usize,
    clusters: Vec<Box<str>>,
    /// Lengths at which to clear next.
    styles_limit: usize,
    links_limit: usize,
    clusters_limit: usize,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            styles: vec![Style::default()],
            numbers: BTreeMap::from([(Style::default(), StyleId::DEFAULT)]),
            recent: Box::new([(Style::default(), StyleId::DEFAULT); RECENT]),
            links: vec![Link { id: "".into(), uri: "".into() }],
            link_bytes: 0,
            clusters: Vec::new(),
            styles_limit: SMALL,
            links_limit: SMALL,
            clusters_limit: SMALL,
        }
    }

    pub(crate) fn style(&self, id: StyleId) -> Style {
        self.styles[id.0 as usize]
    }

    pub(crate) fn intern(&mut self, style: Style) -> StyleId {
        let place = style.digest() as usize % RECENT;
        let (known, id) = self.recent[place];
        if known == style {
            return id;
        }
        let id = *self.numbers.entry(style).or_insert_with(|| {
            self.styles.push(style);
            StyleId(self.styles.len() as u32 - 1)
        });
        self.recent[place] = (style, id);
        id
    }

    pub(crate) fn link(&self, number: u32) -> Option<&Link> {
        self.links.get(number as usize).filter(|_| number != 0)
    }

    /// The number of a link; 0 when there is no room for it.
    pub(crate) fn intern_link(&mut self, id: &str, uri: &str) -> u32 {
        let same = |link: &Link| &*link.id == id && &*link.uri == uri;
        // The last ones are the likely ones.
        if let Some(back) = self.links.iter().skip(1).rev().take(64).position(same) {
            return (self.links.len() - 1 - back) as u32;
        }
        if self.link_bytes + id.len() + uri.len() > MAX_LINKS {
            return 0;
        }
        self.link_bytes += id.len() + uri.len();
        self.links.push(Link { id: id.into(), uri: uri.into() });
        (self.links.len() - 1) as u32
    }

    /// What a cell shows.
    pub(crate) fn write_text(&self, cell: Cell, out: &mut String) {
        if let Some(character) = cell.character() {
            out.push(character);
        } else if let Some(number) = cell.cluster() {
            out.push_str(&self.clusters[number as usize]);
        }
    }

    /// The cell with one more character of no width.
    pub(crate) fn combine(&mut self, cell: Cell, with: char) -> Cell {
        let mut text = String::new();
        self.write_text(cell, &mut text);
        if text.is_empty() {
            text.push(' ');
        }
        if text.len() + with.len_utf8() > MAX_CLUSTER || self.clusters.len() >= MAX_CLUSTERS {
            return cell;
        }
        text.push(with);
        self.clusters.push(text.into());
        cell.with_cluster((self.clusters.len() - 1) as u32)
    }

    /// Whether it is time for [`Tables::clear`].
    pub(crate) fn are_large(&self) -> bool {
        self.styles.len() >= self.styles_limit
            || self.links.len() >= self.links_limit
            || self.link_bytes >= MAX_LINKS
            || self.clusters.len() >= self.clusters_limit
    }

    /// Keeps what is named by the cells and pens handed out by the walks, and gives it new numbers.
    pub(crate) fn clear(
        &mut self,
        mut cells: impl FnMut(&mut dyn FnMut(&mut Cell)),
        mut pens: impl FnMut(&mut dyn FnMut(&mut Style)),
    ) {
        let old = std::mem::replace(self, Self::new());
        cells(&mut |cell| {
            if cell.style != StyleId::DEFAULT {
                let style = self.moved(&old, old.style(cell.style));
                cell.style = self.intern(style);
            }
            if let Some(number) = cell.cluster() {
                self.clusters.push(old.clusters[number as usize].clone());
                *cell = cell.with_cluster((self.clusters.len() - 1) as u32);
            }
        });
        pens(&mut |pen| *pen = self.moved(&old, *pen));
        self.styles_limit = SMALL.max(2 * self.styles.len());
        self.links_limit = SMALL.max(2 * self.links.len());
        self.clusters_limit = SMALL.max(2 * self.clusters.len());
    }

    fn moved(&mut self, old: &Self, style: Style) -> Style {
        let link = old.link(style.link).map_or(0, |link| self.intern_link(&link.id, &link.uri));
        Style { link, ..style }
    }
}
