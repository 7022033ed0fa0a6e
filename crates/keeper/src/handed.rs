//! What clients ask about terminals that they hand over.

use sessile_model::wire::{Event as Told, HandOver, ReadTyped, Reply};
use zeroize::Zeroize as _;

use crate::client::{Client, ClientId, Shows};
use crate::hold::{Hold, Next, Read};
use crate::keeper::Keeper;
use crate::output::{self, Why};
use crate::roles::Place;
use crate::sources::Typist;
use crate::task::{Input, InputSource};

/// Most bytes of keys that were typed, and not pasted.
const KEYS: usize = 64;

impl Client {
    /// Writes no more to the terminal that a channel was handed.
    pub fn let_go(&mut self, channel: u16) {
        let Some(mut attachment) = self.attachments.remove(&channel) else { return };
        output::let_go(self, channel, &mut attachment, Why::Over);
        self.attachments.insert(channel, attachment);
    }
}

impl Keeper {
    /// Takes the terminal that came with the request, if it can be taken.
    pub(crate) fn hand_over(&mut self, id: ClientId, channel: u16, asked: &HandOver) -> Reply {
        let mut taken = false;
        if let Some(client) = self.clients.get_mut(&id) {
            let descriptors = client.take_handed();
            let hold = Hold::take(asked, descriptors, client.fd());
            let attachment = client.attachments.get_mut(&channel);
            let attachment = attachment.filter(|attachment| !attachment.raw && !attachment.told_exit);
            if let Some(attachment) = attachment {
                taken = hold.is_ok();
                // What is drawn for who has seen it already is drawn as for who fell behind.
                attachment.fresh &= !(taken && asked.again);
                if let Some(view) = &mut attachment.view {
                    view.forget();
                }
                attachment.shows = hold.map_or(Shows::ByFrames, |hold| Shows::On(Box::new(hold)));
            }
        }
        Reply::HandedOver { number: asked.number, taken }
    }

    /// Reads what is typed at the terminal that came with the request, as long as the one that was handed over
    /// is written to.
    pub(crate) fn read_typed_at(&mut self, id: ClientId, channel: u16, asked: ReadTyped) -> Reply {
        let number = asked.number;
        let (mut taken, mut last) = (false, None);
        if let Some(client) = self.clients.get_mut(&id) {
            let descriptors = client.take_handed();
            if let Some(attachment) = client.attachments.get_mut(&channel)
                && !attachment.read_only
                && let Shows::On(hold) = &mut attachment.shows
                && hold.number == number
            {
                last = hold.stop_reading();
                taken = hold.read_typed(asked, descriptors).is_ok();
            }
        }
        Reply::ReadsTyped { number, taken, last }
    }

    /// Takes what was typed at a terminal that is read here. What is on its way is noted before, so that its
    /// client knows of a successor whether it arrived.
    pub(crate) fn read_typed(&mut self, place: Place) {
        let (id, channel) = place;
        let Some(connection) = self.clients.get_mut(&id) else { return };
        let Some(attachment) = connection.attachments.get_mut(&channel) else { return };
        let (client, task) = (attachment.client, attachment.task.clone());
        let Shows::On(hold) = &mut attachment.shows else { return };
        let mut begun = None;
        let read = hold.next_typed(|sequence| {
            begun = Some(sequence);
            if let Some(ledger) = &mut self.ledger {
                ledger.begin(client, sequence);
            }
        });
        match read {
            Read::Bytes(mut bytes, next) => {
                self.proceed("typed", "read");
                let is_keys = bytes.len() <= KEYS;
                self.typist = Some(Typist { place, task, at: self.now, is_keys });
                if let Some(sequence) = begun.filter(|_| !bytes.is_empty()) {
                    let source = InputSource::Terminal { client, sequence };
                    begun = begun.filter(|_| self.input(place, source, &bytes) != Input::Taken);
                }
                bytes.zeroize();
                if let Some(client) = self.clients.get_mut(&id) {
                    let told: &[Told] = match next {
                        Next::Nothing => &[],
                        Next::Leave => &[Told::Leave],
                        Next::LeaveAndMore => &[Told::More, Told::Leave],
                    };
                    told.iter().for_each(|told| client.tell(channel, told));
                }
            }
            Read::Nothing => {}
            Read::Lost => self.lose(place, Why::Lost),
        }
        if let (Some(sequence), Some(ledger)) = (begun, &mut self.ledger) {
            // Nothing of it is on its way.
            ledger.finish(client, sequence);
        }
    }

    /// A sentence of a client's own, on its terminal.
    pub(crate) fn tell_back(&mut self, id: ClientId, channel: u16, text: String) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.tell(channel, &Told::Notice { text });
        }
    }

    /// Shows an attachment nothing more on its client's terminal.
    pub(crate) fn lose(&mut self, (id, channel): Place, why: Why) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(mut attachment) = client.attachments.remove(&channel) else { return };
        if let Some(task) = self.tasks.get_mut(&attachment.task) {
            output::lose(client, channel, &mut attachment, task, why, self.now);
        }
        client.attachments.insert(channel, attachment);
    }
}
