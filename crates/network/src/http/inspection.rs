//! The one point that every head and every part of a body passes on its way out: the session's guard is shown it,
//! and what may not go yet is kept back. What is kept back of a request has at most [`MOST_BODY`] bytes.

use std::os::fd::BorrowedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::AppName;
use sessile_model::guarding::Text;
use sessile_model::guarding::outgoing::{
    Coding, MOST_BODY, MOST_KEPT, MOST_TOGETHER, Shown, WINDOW, packed_heads,
};

use super::head::{Framing, Headers, Request};
use crate::guard::{Guard, Withheld};
use crate::life::gone;

/// Most bytes that are added to what is kept back before it is shown.
const PIECE: usize = MOST_BODY - MOST_KEPT - WINDOW;
/// Longest method.
const LONGEST_METHOD: usize = 64;

/// Where a request goes, and who looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Inspection<'a> {
    /// Who looks.
    pub guard: &'a Guard,
    /// The app that sends.
    pub app: &'a AppName,
    /// The host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The app's socket: nothing goes of whom has left meanwhile.
    pub socket: Option<BorrowedFd<'a>>,
}

impl<'a> Inspection<'a> {
    /// Shows a head, as it is passed on; with it the body, where all of it is there: `arrived` is what is.
    /// Returns what passes bodies on.
    ///
    /// # Errors
    /// See [`Withheld`]: nothing of it goes.
    pub async fn head(self, request: &Request, arrived: &[u8]) -> Result<Kept<'a>, Withheld> {
        if request.method.len() > LONGEST_METHOD {
            return Err(Withheld::Refused);
        }
        let head = request.write();
        let whole = match request.framing {
            Framing::Length(length) => usize::try_from(length).ok().and_then(|length| arrived.get(..length)),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let body = whole.filter(|body| head.len() + body.len() <= MOST_TOGETHER);
        let coding = coding(&request.headers);
        let mut kept = Kept {
            of: self,
            method: request.method.clone(),
            coding,
            bytes: Vec::new(),
            show_at: WINDOW,
            cleared: 0,
            stream: self.guard.number(),
            at: 0,
            packed_from: None,
            is_open: is_packed(coding),
        };
        kept.look_for_packed(body.unwrap_or_default());
        kept.cleared = kept.ask(&head, body.unwrap_or_default(), body.is_some()).await?;
        kept.is_open = false;
        Ok(kept)
    }
}

/// What of a request's body is kept back.
#[derive(Debug)]
pub struct Kept<'a> {
    of: Inspection<'a>,
    method: String,
    coding: Coding,
    bytes: Vec<u8>,
    /// How many there are to be before they are shown.
    show_at: usize,
    /// Bytes that may go when they come: they were shown with the head.
    cleared: usize,
    /// The body's number with the guard.
    stream: u64,
    /// Bytes that went.
    at: u64,
    /// Where in it something begins that looks packed, the first time.
    packed_from: Option<u64>,
    /// The guard remembers something of it.
    is_open: bool,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.of.guard.leave(self.stream);
        }
    }
}

impl Kept<'_> {
    /// Takes the next part; returns what may go on now.
    ///
    /// # Errors
    /// See [`Withheld`]: nothing more goes.
    pub async fn pass(&mut self, part: &[u8]) -> Result<Vec<u8>, Withheld> {
        let (cleared, part) = part.split_at(part.len().min(self.cleared));
        self.cleared -= cleared.len();
        let mut goes = cleared.to_vec();
        for piece in part.chunks(PIECE) {
            self.bytes.extend_from_slice(piece);
            if self.bytes.len() >= self.show_at {
                goes.extend(self.show(false).await?);
            }
        }
        Ok(goes)
    }

    /// What was kept back, at the end of the body.
    ///
    /// # Errors
    /// See [`Withheld`]: nothing more goes.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Withheld> {
        if self.bytes.is_empty() { Ok(Vec::new()) } else { self.show(true).await }
    }

    async fn show(&mut self, is_last: bool) -> Result<Vec<u8>, Withheld> {
        let bytes = std::mem::take(&mut self.bytes);
        self.look_for_packed(&bytes);
        self.bytes = bytes;
        self.is_open = is_packed(self.coding) || self.packed_from.is_some();
        let count = self.ask(&[], &self.bytes, is_last).await?;
        self.is_open &= !is_last;
        self.at += count as u64;
        let kept = self.bytes.split_off(count);
        self.show_at = kept.len() + WINDOW;
        Ok(std::mem::replace(&mut self.bytes, kept))
    }

    /// Notes where something that looks packed begins in what is not said to be. Of what is cut at the end
    /// nothing goes before more is shown.
    fn look_for_packed(&mut self, bytes: &[u8]) {
        if self.coding == Coding::Identity && self.packed_from.is_none() {
            let heads = packed_heads(bytes, 0, self.at == 0);
            self.packed_from = heads.first().map(|(at, _)| self.at + *at as u64);
            self.is_open |= self.packed_from.is_some();
        }
    }

    async fn ask(&self, head: &[u8], body: &[u8], is_last: bool) -> Result<usize, Withheld> {
        let Inspection { guard, app, host, port, socket } = self.of;
        let shown = Shown {
            number: 0,
            app: app.clone(),
            host: host.to_owned(),
            port,
            method: self.method.clone(),
            head: Text(STANDARD.encode(head)),
            body: Text(STANDARD.encode(body)),
            coding: self.coding,
            is_last,
            stream: self.stream,
            at: self.at,
            packed_from: self.packed_from,
        };
        tokio::select! {
            biased;
            word = guard.show(shown, body.len()) => word,
            () = gone(socket) => Err(Withheld::Left),
        }
    }
}

/// Whether the guard remembers something of a body until its end.
const fn is_packed(coding: Coding) -> bool {
    matches!(coding, Coding::Gzip | Coding::Deflate)
}

/// How a body is coded, by its head.
fn coding(headers: &Headers) -> Coding {
    let named = headers.all("content-encoding").flat_map(|list| list.split(|byte| *byte == b','));
    let named: Vec<&[u8]> = named
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"))
        .collect();
    match named.as_slice() {
        [] => Coding::Identity,
        [one] if one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip") => Coding::Gzip,
        [one] if one.eq_ignore_ascii_case(b"deflate") => Coding::Deflate,
        [..] => Coding::Unseen,
    }
}
