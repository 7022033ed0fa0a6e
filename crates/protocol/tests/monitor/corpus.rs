//! The `scribble` corpus, held to: whatever is accepted goes on until nothing more can happen, whoever is
//! next and however little room there is. It lies beside the repository, in `shared/corpora`, or where
//! `SESSILE_CORPORA` says.

#![allow(clippy::disallowed_methods, reason = "the crate reads no file; this test reads the corpus")]

use std::path::Path;

use sessile_protocol::machine::Direction;
use sessile_protocol::monitor::event::Status;
use sessile_protocol::monitor::{Monitor, replay};
use sessile_protocol::{Discipline, Limits, NoImports, Source, check_all};

use crate::draw::Draw;
use crate::support::{events, fifo, line, open, plan};

const SCHEDULES: u64 = 20;
const STEPS: usize = 100;

#[test]
fn whatever_is_accepted_of_the_corpus_goes_on_to_its_end() {
    let folder = std::env::var_os("SESSILE_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"), Into::into);
    let Ok(labels) = std::fs::read_to_string(folder.join("scribble/labels.tsv")) else {
        println!("skipped: no scribble corpus (set SESSILE_CORPORA to the folder that has it)");
        return;
    };
    let (mut held, mut ended) = (0, 0);
    for file in labels.lines().skip(1).filter_map(|line| line.split('\t').nth(1)) {
        let text = std::fs::read_to_string(folder.join("scribble").join(file)).unwrap();
        let source = Source { name: file, text: &text };
        for discipline in [Discipline::Complete, Discipline::Scribble] {
            let judged = check_all(&source, &mut NoImports, discipline, Limits::default());
            for judgement in judged.into_iter().flatten().filter(|judgement| judgement.problem.is_none()) {
                let name = Some(&*judgement.protocol);
                let checked =
                    sessile_protocol::check(&source, &mut NoImports, name, discipline, Limits::default());
                let Ok((protocol, _)) = checked else { continue };
                let plan = plan(&protocol);
                held += 1;
                for seed in 0..SCHEDULES {
                    let mut monitor = open(&plan, fifo(1 + seed as u32 % 3, crate::support::BLOCK));
                    go_on(&mut monitor, &mut Draw(seed), file);
                    ended += u32::from(*monitor.status() == Status::Closed { by: None });
                    let log = events(&mut monitor);
                    assert_eq!(replay(&plan, log).unwrap().hash(), monitor.hash(), "{file}");
                }
            }
        }
    }
    println!(
        "{held} protocols of the corpus were held to; {ended} of {} runs came to an end",
        held * SCHEDULES
    );
    assert!(held > 100 && ended > 0);
}

fn go_on(monitor: &mut Monitor, draw: &mut Draw, file: &str) {
    for _ in 0..STEPS {
        if *monitor.status() != Status::Active {
            return;
        }
        let roles = (0..monitor.plan().roles().len() as u16).map(sessile_protocol::machine::Role);
        let moves: Vec<_> = roles
            .flat_map(|role| monitor.offered(role).map(move |offer| (role, offer)))
            .filter(|(_, offer)| offer.ready)
            .collect();
        assert!(!moves.is_empty(), "{file}: nothing moves");
        let (role, offer) = moves[draw.below(moves.len())];
        match offer.direction {
            Direction::Send => drop(monitor.send(line(role, offer.peer, offer.message.0)).unwrap()),
            Direction::Receive => drop(monitor.recv(role, Some(offer.peer)).unwrap()),
        }
    }
}
