//! Gateways and guards over real sockets; the guard is played.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sessile_model::AppName;
use sessile_model::guarding::Text;
use sessile_model::guarding::outgoing::Coding;
use tokio::task::LocalSet;

use super::*;

/// What a part says: its head and body.
pub fn said(shown: &Shown) -> (String, String) {
    let text = |text: &Text| String::from_utf8(STANDARD.decode(&text.0).unwrap()).unwrap();
    (text(&shown.head), text(&shown.body))
}

/// What lets all of a part go.
pub fn goes(shown: &Shown) -> Word {
    Word::Goes { number: shown.number, body: said(shown).1.len() as u32 }
}

/// A socket whose other end answers what is shown so, until it says nothing.
pub fn played(mut answer: impl FnMut(&Showing) -> Option<Vec<u8>> + Send + 'static) -> OwnedFd {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; MAX_SHOWN];
        loop {
            let count = rustix::io::read(&theirs, &mut *bytes).unwrap_or(0);
            let Ok(showing) = serde_json::from_slice(&bytes[..count]) else { return };
            match answer(&showing) {
                Some(word) if word.is_empty() => {}
                Some(word) => drop(rustix::io::write(&theirs, &word)),
                None => return,
            }
        }
    });
    ours
}

/// A guard that says this of each part. To be called on a [`LocalSet`].
pub fn saying(mut word: impl FnMut(&Shown) -> Word + Send + 'static) -> Guard {
    let guard = Guard::new(mpsc::channel(1).0);
    let socket = played(move |showing| match showing {
        Showing::Part(shown) => Some(serde_json::to_vec(&word(shown)).unwrap()),
        Showing::Left { .. } | Showing::Unknown => Some(Vec::new()),
    });
    guard.begin_with(socket);
    guard
}

impl Guard {
    /// Has this for its socket. To be called on a [`LocalSet`].
    pub fn begin_with(&self, socket: OwnedFd) {
        let (sequence, _) = self.want();
        self.found(sequence, Some(socket));
    }
}

fn shown(body: &str) -> Shown {
    Shown {
        number: 0,
        app: AppName::main(),
        host: "a.example".to_owned(),
        port: 80,
        method: "POST".to_owned(),
        head: Text::default(),
        body: Text(STANDARD.encode(body)),
        coding: Coding::Identity,
        packed_from: None,
        is_last: true,
        stream: 5,
        at: 0,
    }
}

/// Shows a text to guards that the keeper finds; each of them is asked for, as a keeper hears it.
async fn shows(
    guard: &Guard,
    heard: &mut mpsc::Receiver<Report>,
    found: Option<OwnedFd>,
) -> (Result<usize, Withheld>, bool) {
    let showing = guard.show(shown("text"), 4);
    let finding = async {
        let Some(Report::Unguarded { sequence, failed }) = heard.recv().await else { panic!() };
        guard.found(sequence, found);
        failed
    };
    tokio::join!(showing, finding)
}

#[tokio::test]
async fn a_guard_that_is_of_no_use_lets_nothing_pass_and_the_next_is_asked_for() {
    let play = async {
        let (reports, mut heard) = mpsc::channel(8);
        let guard = Guard::new(reports);
        let letting = |body: u32| {
            played(move |showing| match showing {
                Showing::Part(shown) => {
                    Some(serde_json::to_vec(&Word::Goes { number: shown.number, body }).unwrap())
                }
                Showing::Left { .. } | Showing::Unknown => None,
            })
        };
        let no = Err(Withheld::Unguarded);
        // There is none.
        assert_eq!(shows(&guard, &mut heard, None).await, (no, false));
        // It is gone; that says nothing about it.
        assert_eq!(shows(&guard, &mut heard, Some(played(|_| None))).await, (no, false));
        // It says what nobody understands: the keeper is told.
        assert_eq!(shows(&guard, &mut heard, Some(played(|_| Some(b"?".to_vec())))).await, (no, false));
        let unknown = Some(br#"{"word":"sings"}"#.to_vec());
        assert_eq!(shows(&guard, &mut heard, Some(played(move |_| unknown.clone()))).await, (no, true));
        // More may go than there is, or less of what is the last.
        for body in [5, 3] {
            let (outcome, failed) = shows(&guard, &mut heard, Some(letting(body))).await;
            assert_eq!((outcome, failed), (no, true), "{body}");
        }
        assert_eq!(shows(&guard, &mut heard, Some(letting(4))).await, (Ok(4), true));
        assert_eq!(guard.show(shown("text"), 4).await, Ok(4));
        assert!(heard.try_recv().is_err(), "one is there");
    };
    LocalSet::new().run_until(play).await;
}

#[tokio::test]
async fn words_come_to_those_who_wait_for_them() {
    let play = async {
        let guard = Guard::new(mpsc::channel(1).0);
        let (sequence, _) = guard.want();
        let mut first = None;
        // The first is asked about, the second is answered meanwhile.
        let socket = played(move |showing| match showing {
            Showing::Part(shown) if first.is_none() => {
                first = Some(shown.number);
                Some(serde_json::to_vec(&Word::Held { number: shown.number }).unwrap())
            }
            Showing::Part(shown) => {
                Some(serde_json::to_vec(&Word::Refused { number: shown.number }).unwrap())
            }
            Showing::Left { .. } => Some(Vec::new()),
            Showing::Unknown => None,
        });
        guard.found(sequence, Some(socket));
        let asked_about = guard.show(shown("held"), 4);
        tokio::pin!(asked_about);
        let refused = tokio::select! {
            biased;
            word = &mut asked_about => panic!("{word:?}"),
            word = guard.show(shown("text"), 4) => word,
        };
        assert_eq!(refused, Err(Withheld::Refused));
    };
    LocalSet::new().run_until(play).await;
}

#[tokio::test]
async fn one_who_leaves_says_so() {
    let play = async {
        let guard = Guard::new(mpsc::channel(1).0);
        let (sequence, _) = guard.want();
        let (told, mut left) = mpsc::unbounded_channel();
        let socket = played(move |showing| {
            told.send(matches!(showing, Showing::Left { number: 1 })).unwrap();
            Some(Vec::new())
        });
        guard.found(sequence, Some(socket));
        tokio::select! {
            biased;
            word = guard.show(shown("text"), 4) => panic!("{word:?}"),
            heard = left.recv() => assert_eq!(heard, Some(false)),
        }
        assert_eq!(left.recv().await, Some(true));
    };
    LocalSet::new().run_until(play).await;
}
